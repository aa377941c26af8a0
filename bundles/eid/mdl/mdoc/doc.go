// Package mdoc is the data and the cryptography of mobile documents: engagement, session,
// request, response, issuing. It knows no card, no link and no persona.
//
//	card (bundles/eid/mdl) ─┬─ Engagement, Transcript, Session   who talks, encrypted
//	                        ├─ ParseRequest ──> Request          what is asked for
//	                        ├─ Issue ──> Document                what the issuer signed
//	                        └─ Respond ──> DeviceResponse        what is shown
//	                               └── SecureArea                keys: sign, agree, never out
//
// The reader's side (bundles/eid/inspect/mdl) shares the session and nothing that verifies.
//
// Sources: ISO/IEC 18013-5:2021 by its public examples (annex D) and the suites of public
// implementations; the text itself was not at hand: clause numbers as those give them,
// what they do not show is unverified. RFC 8949 (CBOR), RFC 9052 and 9053 (COSE), RFC 9360
// (x5chain), RFC 8943 (full-date).
package mdoc
