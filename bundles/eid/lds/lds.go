// Package lds is the logical data structure of a travel document: the content of its
// files, built for a chip and read back by an inspection system.
//
//	issue ──> Build... ──> octets of a file ──> chip ──> reader ──> Parse... ──> inspect
//
// It knows what stands in a file, not who may read it (issue), nor how signatures are
// made (pki). What a parser gives aliases its input.
//
// Sources: ICAO Doc 9303 part 3 (machine readable zone), 4 to 6 (TD3, TD1, TD2), 10
// (logical data structure), 11 (SecurityInfos); ISO/IEC 19794-5:2005 (face image),
// ISO/IEC 19785 (CBEFF).
package lds

// AID is the LDS1 eMRTD application (Doc 9303-10 3.11.3).
var AID = []byte{0xA0, 0x00, 0x00, 0x02, 0x47, 0x10, 0x01}
