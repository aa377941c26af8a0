// Package iso7816 holds the links of the ISO/IEC 7816-3 kind, where a terminal
// gives power, the card answers with its ATR, and one command APDU is answered
// by one response APDU.
//
//	PC/SC client ── pcscd ── virtual reader driver ──TCP── vpcd:// target ── card (ours)
//	terminal (ours) ── vpcd:// controller ─────────TCP── any vpcd card
//	terminal (ours) ── pcsc: ──UNIX socket── pcscd ── any reader and card
//	either end ── serial: tcp: ──characters── the other end
//	PC/SC client ── pcscd ── serial CCID driver ──PTY── ccid: reader ──characters── card (ours)
//
//	atr.go    the Answer-to-Reset: build, parse, explain
//	vpcd.go   both ends of the virtual reader's protocol
//	pcsc.go   a client of pcscd
//
//	serial.go            links on characters: serial: and tcp:
//	serialterminal.go    the terminal's end     parameters.go  waiting times, rates
//	serialcard.go        the card's end         pps.go         negotiation
//	t0.go                T=0 without I/O        (T=1 is transport/t1)
//	ccid.go              a reader for pcscd's serial driver, with the card in it
//	line.go              what carries characters and signals: stream.go, tty_linux.go
//
// A serial device with modem lines has the reset on RTS or DTR and 8E2 or 8E1, as a
// Phoenix interface. Pseudo-terminals and TCP have no modem lines; there FF is an
// escape: FF FF is the character FF, and
//
//	FF 00  terminal: power off       FF 03  card: it is in
//	FF 01  terminal: cold reset      FF 04  card: it is out
//	FF 02  terminal: warm reset      FF 05  terminal: is a card in?
//
// The card repeats 01 and 02 in front of its ATR: what came before is void.
//
// Sources: ISO/IEC 7816-3 (ATR, PPS, T=0; the escapes are ours), the vsmartcard project's documentation of its
// vpcd protocol, pcsc-lite's winscard message protocol 4.4.
package iso7816

import "github.com/sspemu/sspemu/transport"

// Schemes are the links of this package, for transport.Open:
//
//	vpcd://HOST[:PORT]                 target: connects to the virtual reader, default port 35963
//	                                   controller: listens there, as the reader
//	pcsc:READER[?protocol=t0|t1|any]   controller only; READER is a part of the reader's name
//	serial:DEVICE                      a serial device or pseudo-terminal, such as /dev/ttyUSB0
//	serial:pty[:LINK]                  target only: a new pseudo-terminal, LINK a symbolic link to it
//	tcp://HOST:PORT                    the same characters; the controller listens, the target connects
//	ccid:[LINK][?protocol=t1|t0]       target only: a serial CCID reader on a new pseudo-terminal
//
// serial: and tcp: take
//
//	protocol=any|t1|t0    controller: demanded; any is what the ATR offers first
//	                      target: t0 makes the SSP answer 61XX itself
//	ifs=N                 controller: IFSD of T=1, default 254
//	outgoing=INS,...      target: further instructions that bring data in T=0
//
// and serial: takes, for devices with modem lines
//
//	baud=N                when the card is reset, default 9600
//	pps=protocol|fast     controller: fast takes the rate of TA1
//	reset=rts|dtr|none|inband
var Schemes = transport.Schemes{
	"vpcd":   openVPCD,
	"pcsc":   openPCSC,
	"serial": openSerial,
	"tcp":    openTCP,
	"ccid":   openCCID,
}
