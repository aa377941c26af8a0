package telecom

// The numbers of the standards, each with its clause. Nothing else in this
// package spells one out. TS 102 221 stands for ETSI TS 102 221 V15 and later.

// Instructions (TS 102 221 table 10.5).
const (
	insDeactivateFile     = 0x04 // 11.1.14
	insTerminalProfile    = 0x10 // 11.2.1
	insFetch              = 0x12 // 11.2.3
	insTerminalResponse   = 0x14 // 11.2.4
	insVerifyPIN          = 0x20 // 11.1.9
	insChangePIN          = 0x24 // 11.1.10
	insDisablePIN         = 0x26 // 11.1.11
	insEnablePIN          = 0x28 // 11.1.12
	insUnblockPIN         = 0x2C // 11.1.13
	insIncrease           = 0x32 // 11.1.8
	insActivateFile       = 0x44 // 11.1.15
	insManageChannel      = 0x70 // 11.1.17
	insGetChallenge       = 0x84 // 11.1.18
	insAuthenticate       = 0x88 // 11.1.16
	insSearchRecord       = 0xA2 // 11.1.7
	insSelect             = 0xA4 // 11.1.1
	insTerminalCapability = 0xAA // 11.1.19
	insReadBinary         = 0xB0 // 11.1.3
	insReadRecord         = 0xB2 // 11.1.5
	insEnvelope           = 0xC2 // 11.2.2
	insUpdateBinary       = 0xD6 // 11.1.4
	insUpdateRecord       = 0xDC // 11.1.6
	insStatus             = 0xF2 // 11.1.2
	insResizeFile         = 0xD4 // ETSI TS 102 222 6.10; named by access rules only
)

// SELECT, P1 (TS 102 221 table 11.1).
const (
	selectByFID      = 0x00
	selectChildDF    = 0x01
	selectParentDF   = 0x03
	selectByName     = 0x04
	selectPathFromMF = 0x08
	selectPathFromDF = 0x09
)

// SELECT, P2 (TS 102 221 table 11.2).
const (
	sessionMask      = 0x60 // application session control
	sessionActivate  = 0x00
	sessionTerminate = 0x40
	returnMask       = 0x9C
	returnFCI        = 0x00 // ISO/IEC 7816-4 table 64; not in TS 102 221, where terminals use it by AID: answered with the FCP
	returnFCP        = 0x04
	returnNothing    = 0x0C
	occurrenceMask   = 0x03
	occurrenceFirst  = 0x00
	occurrenceLast   = 0x01
	occurrenceNext   = 0x02
	occurrencePrev   = 0x03
)

// Reserved file identifiers (TS 102 221 8.6).
const (
	fidMF         = 0x3F00
	fidCurrentADF = 0x7FFF
	fidCurrentDF  = 0x3FFF
	fidRFU        = 0xFFFF
)

// STATUS, P2 (TS 102 221 table 11.9).
const (
	statusFCP     = 0x00
	statusName    = 0x01
	statusNothing = 0x0C
)

// File control parameters (TS 102 221 11.1.1.3, 11.1.1.4).
const (
	tagFCP             = 0x62
	tagFileSize        = 0x80 // 11.1.1.4.1
	tagTotalFileSize   = 0x81 // 11.1.1.4.2
	tagFileDescriptor  = 0x82 // 11.1.1.4.3
	tagFileID          = 0x83 // 11.1.1.4.4
	tagDFName          = 0x84 // 11.1.1.4.5
	tagSFI             = 0x88 // 11.1.1.4.8
	tagLifeCycle       = 0x8A // 11.1.1.4.9
	tagSecurityByRef   = 0x8B // 11.1.1.4.7.3
	tagProprietary     = 0xA5 // 11.1.1.4.6
	tagPINStatus       = 0xC6 // 11.1.1.4.10
	tagUICCCharacter   = 0x80 // in A5, 11.1.1.4.6.1
	tagPower           = 0x81 // in A5, 11.1.1.4.6.2
	tagMinClock        = 0x82 // in A5, 11.1.1.4.6.3
	tagAvailableMemory = 0x83 // in A5, 11.1.1.4.6.4
	tagSystemCommands  = 0x87 // in A5, 11.1.1.4.6.8
	tagPINStatusBits   = 0x90 // in C6, PS_DO, 9.5.2
	tagUsageQualifier  = 0x95 // in C6 and in access rules, 9.5.1
	tagKeyReference    = 0x83 // in C6 and in access rules, 9.5.1

	systemTerminalCapability = 0x01 // value of 87: TERMINAL CAPABILITY is supported
	usageVerify              = 0x08 // value of 95: the PIN is used (user authentication)
	usageNone                = 0x00 // value of 95: the PIN is not used
)

// File descriptor byte and data coding byte (TS 102 221 table 11.5).
const (
	descriptorDF     = 0x78
	descriptorBinary = 0x41
	descriptorLinear = 0x42
	descriptorCyclic = 0x46
	dataCoding       = 0x21
)

// Life cycle status (TS 102 221 table 11.7b).
const (
	lifeActivated   = 0x05
	lifeDeactivated = 0x04
)

// Access rules, expanded format (TS 102 221 9.2.4 and 9.2.7; ISO/IEC 7816-4
// 9.3.3).
const (
	tagAccessMode  = 0x80 // AM_DO: bits of table 17 (EF) or 16 (DF)
	tagHeaderMode  = 0x84 // AM_DO: INS of the command; 81 to 8F: CLA, INS, P1, P2 by bits
	tagAlways      = 0x90
	tagNever       = 0x97
	tagUserAuth    = 0xA4 // control reference template for authentication
	tagOr          = 0xA0
	tagNot         = 0xA7
	tagAnd         = 0xAF
	recordFilling  = 0xFF
	amRead         = 0x01 // READ BINARY, READ RECORD, SEARCH RECORD
	amUpdate       = 0x02 // UPDATE BINARY, UPDATE RECORD
	amDeactivate   = 0x08
	amActivate     = 0x10
	amTerminate    = 0x20
	amDelete       = 0x40
	amDeleteChild  = 0x01 // of a directory
	amCreateEF     = 0x02 // of a directory
	amCreateDF     = 0x04 // of a directory
	headerBitCLA   = 0x08
	headerBitINS   = 0x04
	headerBitP1    = 0x02
	headerBitP2    = 0x01
	headerBitsMask = 0x0F
)

// Key references (TS 102 221 table 9.3).
const (
	refPIN1      = 0x01
	refADM1      = 0x0A
	refUniversal = 0x11
	refPIN2      = 0x81 // second application PIN 1, "PIN2" of 3GPP TS 31.102
	refADM6      = 0x8A
	refLocal     = 0x80 // bit: specific reference data, belongs to an application
	refRFU       = 0x60 // bits that are zero in a qualifier (table 11.15)
	pinSize      = 8
)

// DISABLE PIN, P1 (TS 102 221 table 11.17).
const (
	disableReplace   = 0x80 // another global key reference takes the place
	disableReference = 0x1F
)

// READ and UPDATE BINARY, P1 (TS 102 221 table 11.10); INCREASE, P1.
const (
	p1SFI     = 0x80
	p1SFIRFU  = 0x60
	p1SFIMask = 0x1F
)

// READ, UPDATE and SEARCH RECORD, P2 (TS 102 221 tables 11.11 and 11.12).
const (
	recordModeMask    = 0x07
	recordNext        = 0x02
	recordPrevious    = 0x03
	recordAbsolute    = 0x04 // with P1 00: the current record
	searchForward     = 0x04
	searchBackward    = 0x05
	searchEnhanced    = 0x06
	searchProprietary = 0x07
)

// SEARCH RECORD, search indication of an enhanced search (TS 102 221 table 11.13).
const (
	enhancedByValue  = 0x08 // byte 2 is a character, the search starts behind it; else byte 2 is an offset
	enhancedRFU      = 0xF0
	enhancedMode     = 0x07
	enhancedForward  = 0x04 // from the record in P1
	enhancedBackward = 0x05
	enhancedNext     = 0x06 // forward from the next record
	enhancedPrevious = 0x07 // backward from the previous record
)

// MANAGE CHANNEL (TS 102 221 11.1.17).
const (
	channelOpen     = 0x00
	channelStandard = 3 // the last channel that a terminal gets without TERMINAL CAPABILITY 81
)

// TERMINAL CAPABILITY (TS 102 221 11.1.19.2).
const (
	tagTerminalCapability = 0xA9
	tagTerminalPower      = 0x80 // 3 bytes
	tagExtendedChannels   = 0x81 // empty
	tagInterfaces         = 0x82 // 1 byte
	tagEUICC              = 0x83 // at least 1 byte
)

// Card application toolkit (ETSI TS 102 223 9.1 to 9.4).
const (
	tagProactive      = 0xD0
	envelopeFirst     = 0xD1 // SMS-PP download of 3GPP TS 31.111
	envelopeLast      = 0xDF
	envelopeExtra     = 0xE4 // the last template tag in use (terminal applications)
	envelopeExtraLow  = 0xE1
	tagCommandDetails = 0x01 // with or without comprehension required, bit 8
	tagDevices        = 0x02
	tagResult         = 0x03
	tagAlpha          = 0x05
	tagItem           = 0x0F
	comprehension     = 0x80
	typeSetUpMenu     = 0x25
	deviceUICC        = 0x81
	deviceTerminal    = 0x82
	maxProactive      = 255
)

// EF.DIR (TS 102 221 13.1).
const (
	tagApplication = 0x61
	tagAID         = 0x4F
	tagLabel       = 0x50
)
