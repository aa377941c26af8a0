// Package terminal joins links to the SCL network and is the terminal on the
// other side of them.
//
//	TERMINAL                                  SSP
//	Client ── transport.Link ═══════ transport.Link ── Adapter ── SCL network ── UICC APDU gate of the active SPB
//	          controller end         target end        a host
//
// An Adapter is a host that stands for one terminal with an APDU interface. It
// owns a pipe to the UICC APDU gate of the host that publishes one, that is the
// active SPB, and drives the target end of a link:
//
//	state       meaning                       frame from the terminal, answer
//	no card     no host has the gate          PowerOn, Reset, GetATR: Removed    Block: SW 6F00
//	unpowered   pipe created, not open        PowerOn, Reset, GetATR: opens the  Block: SW 6F00
//	                                          pipe (cold reset), ATR
//	powered     pipe open, ATR known          PowerOn: closes and opens the      Block: EVT_C_APDU,
//	                                          pipe (cold reset), ATR             R-APDU back
//	                                          Reset: EVT_ABORT (warm), ATR
//	                                          GetATR: the ATR again
//	                                          PowerOff: EVT_END_OF_APDU_TRANSFER,
//	                                          closes the pipe, unpowered
//
// When the SPB leaves the network (another bundle becomes active) the terminal
// sees the card leave (Removed); when the next one publishes its gate, a card is
// put in (Inserted), unpowered. Both are sent after the answer to a frame that is
// under way, never in the middle.
//
// A terminal that sends a command to an absent or unpowered card gets SW 6F00: a
// real card would be silent, and 6F00 is the one status word no application means
// anything else by.
//
// The network is synchronous, and so is the answer: what a gate sends when no frame
// is under way is dropped, because on this interface the terminal speaks first.
//
// Sources: ISO/IEC 7816-3 (activation, reset, ATR); ETSI TS 102 622 Release 12
// (APDU gate) for what crosses the SCL. The numbers are those of the profile.
package terminal
