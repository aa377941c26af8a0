package apdu

import "strconv"

// Words says what the status word means (ISO/IEC 7816-4 tables 5 and 6, ETSI TS
// 102 221 10.2.1).
func (s SW) Words() string {
	x := int(s & 0xFF)
	switch byte(s >> 8) {
	case 0x61:
		return plural(full(x), "byte") + " more, GET RESPONSE fetches them"
	case 0x6C:
		return "wrong Le, there are " + plural(full(x), "byte")
	case 0x91:
		if x > 0 {
			return "ok, a proactive command of " + plural(x, "byte") + " waits for FETCH"
		}
		return "ok, a proactive command waits for FETCH"
	case 0x92:
		switch {
		case s == 0x9240:
			return "memory problem"
		case x < 0x40:
			return "ok, after " + plural(x, "internal retry")
		}
	case 0x9F:
		return "ok, " + plural(full(x), "byte") + " of response data wait for GET RESPONSE"
	case 0x63:
		if s&0xFFF0 == Counter {
			return "wrong, " + plural(x&0x0F, "try") + " left"
		}
	}
	if w := word(s); w != "" {
		return w
	}
	switch byte(s >> 8) {
	case 0x62:
		if x >= 0x02 && x <= 0x80 {
			return "warning, the card has a query of " + plural(x, "byte")
		}
		return "warning, memory unchanged"
	case 0x63:
		return "warning, memory changed"
	case 0x64:
		if x >= 0x02 && x <= 0x80 {
			return "execution error, the card has a query of " + plural(x, "byte")
		}
		return "execution error, memory unchanged"
	case 0x65:
		return "execution error, memory changed"
	case 0x66:
		return "execution error, security problem"
	case 0x67:
		return "wrong length, manufacturer's code"
	case 0x68:
		return "function in CLA not supported"
	case 0x69:
		return "command not allowed"
	case 0x6A:
		return "wrong parameters"
	case 0x6B:
		return "wrong P1 or P2"
	case 0x6D:
		return "instruction not supported"
	case 0x6E:
		return "class not supported"
	case 0x6F:
		return "technical problem, manufacturer's code"
	case 0x60:
		return "not a status word: NULL byte of T=0"
	case 0x90:
		return "ok, manufacturer's code"
	}
	if s>>12 == 0x6 || s>>12 == 0x9 {
		return "unknown status of an application"
	}
	return "not a status word"
}

// word is the meaning of a single status word, or "".
func word(s SW) string {
	switch s {
	case OK:
		return "ok"
	case WarningNoInfo:
		return "warning, no information, memory unchanged"
	case 0x6281:
		return "data may be corrupted"
	case EndOfFile:
		return "end of file or record before Le bytes, or nothing found"
	case FileDeactivated:
		return "selected file is deactivated"
	case 0x6284:
		return "file control information is not formatted"
	case FileTerminated:
		return "selected file is terminated"
	case 0x6286:
		return "no input from a sensor"
	case 0x6287:
		return "a referenced record is deactivated"
	case 0x62F1:
		return "more data available"
	case 0x62F2:
		return "more data available, and a proactive command waits"
	case 0x62F3:
		return "response data available"
	case 0x6300:
		return "warning, no information, memory changed"
	case 0x6381:
		return "file filled up by the last write"
	case 0x63F1:
		return "more data expected"
	case 0x63F2:
		return "more data expected, and a proactive command waits"
	case ExecutionError:
		return "execution error, memory unchanged"
	case 0x6401:
		return "the card wants an immediate answer"
	case 0x6500:
		return "execution error, memory changed"
	case MemoryProblem:
		return "memory problem"
	case WrongLength:
		return "wrong length"
	case NoSuchFunctionInCLA:
		return "function in CLA not supported"
	case ChannelNotSupported:
		return "logical channel not supported"
	case SecureMessagingNotSup:
		return "secure messaging not supported"
	case LastCommandExpected:
		return "last command of the chain expected"
	case ChainingNotSupported:
		return "command chaining not supported"
	case 0x6900:
		return "command not allowed"
	case CommandIncompatible:
		return "command incompatible with file structure"
	case SecurityNotSatisfied:
		return "security status not satisfied"
	case AuthBlocked:
		return "authentication method blocked"
	case ReferencedDataInvalid:
		return "referenced data not usable"
	case ConditionsNotSatisfied:
		return "conditions of use not satisfied"
	case NoCurrentEF:
		return "no EF selected"
	case 0x6987:
		return "secure messaging data objects missing"
	case 0x6988:
		return "secure messaging data objects wrong"
	case 0x6989:
		return "command not allowed, secure channel without security"
	case WrongData:
		return "wrong data"
	case FunctionNotSupported:
		return "function not supported"
	case FileNotFound:
		return "file or application not found"
	case RecordNotFound:
		return "record not found"
	case NotEnoughMemory:
		return "not enough memory"
	case 0x6A85:
		return "Lc inconsistent with TLV structure"
	case WrongP1P2:
		return "wrong P1 or P2"
	case LcInconsistentP1P2:
		return "Lc inconsistent with P1 and P2"
	case ReferencedDataNotFound:
		return "referenced data not found"
	case 0x6A89:
		return "file exists already"
	case 0x6A8A:
		return "DF name exists already"
	case WrongP1P2NoInfo:
		return "wrong P1 or P2"
	case InsNotSupported:
		return "instruction not supported or invalid"
	case ClaNotSupported:
		return "class not supported"
	case NoPreciseDiagnosis:
		return "technical problem, no diagnosis"
	case 0x9300:
		return "toolkit is busy, try again later"
	case IncreaseMaxReached:
		return "INCREASE cannot be done, maximum reached"
	case AuthIncorrectMAC:
		return "authentication error, incorrect MAC"
	case SecuritySessionExpired:
		return "security session or association expired"
	case 0x9864:
		return "authentication error, security context not supported"
	case 0x9865:
		return "key freshness failure"
	case 0x9866:
		return "authentication error, no memory space available"
	case 0x9867:
		return "authentication error, no memory space available in EF.MUK"
	}
	return ""
}

// full is the count that a byte expresses where 00 stands for 256.
func full(x int) int {
	if x == 0 {
		return 256
	}
	return x
}

func plural(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	s := strconv.Itoa(n) + " "
	if last := len(noun) - 1; noun[last] == 'y' {
		return s + noun[:last] + "ies"
	}
	return s + noun + "s"
}

// INSName is the name of a command in the standard that defines it, or "" when
// there is none: ISO/IEC 7816-4, 7816-8 and 7816-9 for the interindustry
// classes, ETSI TS 102 221 and GlobalPlatform for the proprietary ones (8x, Cx,
// Ex).
func INSName(cla, ins byte) string {
	if cla == 0xFF {
		return "" // not a class: a pseudo command for the reader
	}
	if cla&0x80 != 0 {
		switch ins {
		case 0x10:
			return "TERMINAL PROFILE"
		case 0x12:
			return "FETCH"
		case 0x14:
			return "TERMINAL RESPONSE"
		case 0x16:
			return "CARD BLOCK" // this and the like: EMV Book 3 table 10
		case 0x18:
			return "APPLICATION UNBLOCK"
		case 0x1E:
			return "APPLICATION BLOCK"
		case 0x24:
			return "PIN CHANGE/UNBLOCK"
		case 0x2A:
			return "COMPUTE CRYPTOGRAPHIC CHECKSUM"
		case 0x50:
			return "INITIALIZE UPDATE"
		case 0x76:
			return "SUSPEND UICC"
		case 0x78:
			return "GET IDENTITY"
		case 0x7A:
			return "EXCHANGE CAPABILITIES"
		case 0xA4:
			return "SELECT"
		case 0xA8:
			return "GET PROCESSING OPTIONS"
		case 0xAA:
			return "TERMINAL CAPABILITY"
		case 0xAE:
			return "GENERATE APPLICATION CRYPTOGRAM"
		case 0xC2:
			return "ENVELOPE"
		case 0xCB:
			return "RETRIEVE DATA"
		case 0xD4:
			return "RESIZE FILE"
		case 0xD8:
			return "PUT KEY"
		case 0xDB:
			return "SET DATA"
		case 0xE2:
			return "STORE DATA"
		case 0xE4:
			return "DELETE"
		case 0xE6:
			return "INSTALL"
		case 0xE8:
			return "LOAD"
		case 0xEA:
			return "EXCHANGE RELAY RESISTANCE DATA"
		case 0xF0:
			return "SET STATUS"
		case 0xF2:
			return "STATUS" // GET STATUS in GlobalPlatform
		}
	}
	switch ins {
	case 0x04:
		return "DEACTIVATE FILE"
	case 0x0C, 0x0D:
		return "ERASE RECORD"
	case 0x0E, 0x0F:
		return "ERASE BINARY"
	case 0x10, 0x11:
		return "PERFORM SCQL OPERATION"
	case 0x20, 0x21:
		return "VERIFY"
	case 0x22:
		return "MANAGE SECURITY ENVIRONMENT"
	case 0x24:
		return "CHANGE REFERENCE DATA"
	case 0x26:
		return "DISABLE VERIFICATION REQUIREMENT"
	case 0x28:
		return "ENABLE VERIFICATION REQUIREMENT"
	case 0x2A:
		return "PERFORM SECURITY OPERATION"
	case 0x2C:
		return "RESET RETRY COUNTER"
	case 0x32:
		return "INCREASE"
	case 0x44:
		return "ACTIVATE FILE"
	case 0x46:
		return "GENERATE ASYMMETRIC KEY PAIR"
	case 0x70:
		return "MANAGE CHANNEL"
	case 0x73:
		return "MANAGE SECURE CHANNEL"
	case 0x75:
		return "TRANSACT DATA"
	case 0x82:
		return "EXTERNAL AUTHENTICATE"
	case 0x84:
		return "GET CHALLENGE"
	case 0x86, 0x87:
		return "GENERAL AUTHENTICATE"
	case 0x88, 0x89:
		return "AUTHENTICATE" // INTERNAL AUTHENTICATE in ISO/IEC 7816-4
	case 0xA0, 0xA1:
		return "SEARCH BINARY"
	case 0xA2:
		return "SEARCH RECORD"
	case 0xA4:
		return "SELECT"
	case 0xB0, 0xB1:
		return "READ BINARY"
	case 0xB2, 0xB3:
		return "READ RECORD"
	case 0xC0:
		return "GET RESPONSE"
	case 0xC2, 0xC3:
		return "ENVELOPE"
	case 0xCA, 0xCB:
		return "GET DATA"
	case 0xD0, 0xD1:
		return "WRITE BINARY"
	case 0xD2:
		return "WRITE RECORD"
	case 0xD6, 0xD7:
		return "UPDATE BINARY"
	case 0xDA, 0xDB:
		return "PUT DATA"
	case 0xDC, 0xDD:
		return "UPDATE RECORD"
	case 0xE0:
		return "CREATE FILE"
	case 0xE2:
		return "APPEND RECORD"
	case 0xE4:
		return "DELETE FILE"
	case 0xE6:
		return "TERMINATE DF"
	case 0xE8:
		return "TERMINATE EF"
	case 0xFE:
		return "TERMINATE CARD USAGE"
	}
	return ""
}
