// Package emv knows the data elements of EMV: data object lists, which card and
// terminal both use, and the dictionary of tags and words for people.
//
//	card     ParseDOL, Length, Find     what the terminal sent
//	terminal ParseDOL, Fill             what the card asked for
//
// The lists are guest-safe; nothing here allocates more than its result.
//
// Sources: EMV 4.4 Book 3 clause 5.4 and annexes A to C.
package emv
