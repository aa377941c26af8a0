// Package iso7816 holds the links of the ISO/IEC 7816-3 kind, where a terminal
// gives power, the card answers with its ATR, and one command APDU is answered
// by one response APDU.
//
//	PC/SC client ── pcscd ── virtual reader driver ──TCP── vpcd:// target ── card (ours)
//	terminal (ours) ── vpcd:// controller ─────────TCP── any vpcd card
//	terminal (ours) ── pcsc: ──UNIX socket── pcscd ── any reader and card
//
//	atr.go    the Answer-to-Reset: build, parse, explain
//	vpcd.go   both ends of the virtual reader's protocol
//	pcsc.go   a client of pcscd
//
// Sources: ISO/IEC 7816-3 (ATR), the vsmartcard project's documentation of its
// vpcd protocol, pcsc-lite's winscard message protocol 4.4.
package iso7816

import "github.com/sspemu/sspemu/transport"

// Schemes are the links of this package, for transport.Open:
//
//	vpcd://HOST[:PORT]                 target: connects to the virtual reader, default port 35963
//	                                   controller: listens there, as the reader
//	pcsc:READER[?protocol=t0|t1|any]   controller only; READER is a part of the reader's name
var Schemes = transport.Schemes{
	"vpcd": openVPCD,
	"pcsc": openPCSC,
}
