// Package shdlc carries SCL packets over SPI and I2C, reliably and in order. Its
// logical link control is SHDLC; the medium access control below is ours.
//
//	terminal                                           SSP
//	transport.Link: Packet                             transport.Link: Packet
//	   │ a packet is one I-frame                          ▲
//	LLC: Engine ── LPDU: control field, packet ──────── Engine   TS 102 613 clause 10
//	   │                                                  ▲
//	MAC: length, check, LPDU, CRC ───────────────────── MAC      provisional: TS 103 713 is not at hand
//	   │                                                  ▲
//	bus.Controller ~~~~~~~~~ SPI or I2C, IRQ ~~~~~~~~ bus.Socket
//
// # LLC
//
// What arrives in which state; the state follows the arrow when it changes.
//
//	             Idle            Resetting          Accepted          Connected
//	user sets up RSET →Resetting RSET               RSET →Resetting   RSET →Resetting
//	RSET, fits   UA →Accepted    UA →Accepted       UA                UA →Accepted, user: WasReset
//	RSET, not so RSET →Resetting RSET, at most 5    RSET →Resetting   RSET →Resetting, user: WasReset
//	UA           -               RR →Connected, Up  RR →Connected, Up -
//	I, S         RSET →Resetting -                  →Connected, Up    see below
//	T3           -               RSET; the sixth    -                 -
//	                             →Idle, user: Down
//	T2           -               -                  initiator: RSET   I-frames again; too often in a
//	                                                →Resetting        row: →Idle, user: Down
//
// A RSET fits when its window (2 to 4) and SREJ are not more than this end has; else
// the answer is a RSET with what both have. An end in Accepted sends no I-frames: it
// does not know whether its UA arrived.
//
// Connected:
//
//	N(R)                acknowledges all I-frames before it; a number that was not sent: LPDU is dropped
//	I, N(S) = V(R)      to the user; acknowledged by the next I-frame, by RR after T1 = 5 w / 4 ms or
//	                    when half a window waits
//	I, N(S) ahead       SREJ: kept. REJ: dropped. Asked for once, again when it is lost once more
//	I, N(S) behind      dropped; RR at once, since the acknowledgement was lost
//	RR                  ends RNR; an empty I-frame when there is nothing else (10.7.7)
//	RNR                 no I-frames but what SREJ asks for, until 2 T2 after the last RNR
//	REJ                 ends RNR; all I-frames from N(R) on again
//	SREJ                ends RNR; I-frame N(R) again. It acknowledges as the others do
//	garbled             REJ or SREJ, which is quicker than T2; an end that is asked for what it never
//	                    sent repeats its RR, REJ or SREJ
//	user is slow        RNR, every T2; afterwards RR, every T2 until an I-frame comes, or REJ when
//	                    I-frames were dropped
//
// # MAC
//
// Provisional.
//
//	│ length 2 │ check 1 │ LPDU │ CRC-16/X-25 2, low octet first │
//
// Length is that of the LPDU, big-endian; all octets of length and check add up to FF
// (XOR); the CRC covers all before it. FF in the place of a length is an idle bus, up to
// the end of the access.
//
//	SPI  an access carries what the controller has, one or more whole frames, and at the
//	     same time as much of what the target has, whose frames may go on in the next
//	I2C  frames are written in one access each and read in parts
//	IRQ  is active while the target has something; without the line it is polled
//
// What cannot be read costs everything until the end of the access (target) or until the
// target has nothing more (controller).
//
// Sources: ETSI TS 102 613 clause 10 through Linux net/nfc/hci/llc_shdlc.c, which names
// 10.6.1 (timers), 10.7.7 (after RNR), 10.8.1 to 10.8.4 (sending, I, RR, REJ). The text
// was not at hand: SREJ, the answer to a RSET that does not fit, UA being confirmed by
// RR and all about garbled frames are unverified. The CRC is that of ISO/IEC 13239, in
// the order that ST uses for SHDLC on I2C (Linux drivers/nfc/st21nfca/i2c.c).
package shdlc
