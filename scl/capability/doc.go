// Package capability is what a terminal and an SSP tell each other first:
// TerminalCapability and SSPCapability of the ASN.1 module SSPDefinitions, in DER.
//
//	terminal                                        SSP
//	TerminalCapability.Encode ──── 30 ... ────> ParseTerminal
//	ParseSSP <──────────────────── 30 ... ───── SSPCapability.Encode
//
//	over SCL:  CAPABILITY_EXCHANGE of the identity gate, first written, then read
//	as APDUs:  EXCHANGE CAPABILITIES (ETSI TS 102 221 11.1.24)
//
// Reading is strict: one encoding for each value, and errors that say which
// component, at which octet, and what. One table a type (capability.go) serves
// both directions, and Encode reads back what it made, so neither lets through what
// the other refuses.
//
// # What the module says, and what is not known
//
// Source: module SSPDefinitions {itu-t(0) identified-organization(4) etsi(0)
// smart-secure-platform(3666) part1(1)} of ETSI TS 103 666-1 V15, AUTOMATIC TAGS and
// EXTENSIBILITY IMPLIED, as published at ETSI Forge. The copy that was read ends in
// SspUiccCapability. So these are unverified:
//
//   - the components of SspUiccCapability from [4] on: kept as they are (Additions);
//   - SSPUserInterface: kept as it is;
//   - the tagging of aClassSpecificCapabilities, ANY DEFINED BY: taken as explicit, as
//     ITU-T X.680 31.2.7 has it for an open type, and its value kept as it is;
//   - the unit of the two power supplies;
//   - that the exchange is in DER and not in another encoding of BER.
//
// Extensible types may have components more than are known here. They come behind
// those that are, with context tags that go up, and are kept in Additions: what is
// read and written again is the same.
//
// Sources of the encoding: ITU-T X.690 (DER) and X.680.
package capability
