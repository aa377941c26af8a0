// Package gate has the standard gates that a host of the SCL publishes.
//
//	            SCL network
//	                │ pipe
//	┌───────────────┴──────────────────────────────────────────┐
//	│ host: SPB, terminal, ...                                  │
//	│  ┌──────────┐  ┌──────────┐  ┌──────────────────────────┐ │
//	│  │ identity │  │ loopback │  │ UICC APDU                │ │
//	│  │ registry │  │ echo     │  │ EVT_C_APDU > EVT_R_APDU  │ │
//	│  └──────────┘  └──────────┘  └────────────┬─────────────┘ │
//	└───────────────────────────────────────────│──────────────┘
//	                                            v APDUService
//	                                  primary platform, active SPB
//
// The link and administration gates belong to the network controller host and
// are in package scl. Numbers are those of the network's profile.
//
// Sources: ETSI TS 102 622 (HCI) through public implementations, as the profile
// names them; ETSI TS 103 666-1 names the gates. Conformance to the latter is
// provisional.
package gate
