// Package gate has the standard gates that a host of the SCL publishes.
//
//	                            SCL network
//	                                │ pipes
//	┌───────────────────────────────┼──────────────────────────────────┐
//	│ every host                    │ network controller host          │ host of the active SPB
//	│  identity  registry,          │  timer     CRON service          │  UICC APDU    APDUService
//	│            capability         │  accessor  authentication,       │  TCP, UDP     StreamService
//	│            exchange           │            rights per gate       │  file system  FileService
//	│  loopback  echo               │                                  │      │
//	└───────────────────────────────┴──────────────────────────────────┴──────│
//	                                                                          v
//	                                                    primary platform, on_message of the bundle
//
// The link and administration gates belong to the network controller host and
// are in package scl. Numbers are those of the network's profile.
//
// Sources: ETSI TS 102 622 (HCI) through public implementations, as the profile
// names them; ETSI TS 103 666-1 names the gates. Conformance to the latter is
// provisional.
package gate
