package apdu

// Status words of ISO/IEC 7816-4 tables 5 and 6 and ETSI TS 102 221 10.2.1.
// Those of one application only are kept with that application.
const (
	OK                     SW = 0x9000
	ProactivePending       SW = 0x9100 // 91xx, TS 102 221 10.2.1.1: xx bytes wait for FETCH
	MoreData               SW = 0x6100 // 61xx, ISO/IEC 7816-4 table 5: xx bytes wait for GET RESPONSE
	WarningNoInfo          SW = 0x6200
	EndOfFile              SW = 0x6282 // also "unsuccessful search"
	FileDeactivated        SW = 0x6283
	FileTerminated         SW = 0x6285
	Counter                SW = 0x63C0 // 63Cx: x tries left
	ExecutionError         SW = 0x6400
	MemoryProblem          SW = 0x6581
	WrongLength            SW = 0x6700
	NoSuchFunctionInCLA    SW = 0x6800
	ChannelNotSupported    SW = 0x6881
	SecureMessagingNotSup  SW = 0x6882
	LastCommandExpected    SW = 0x6883
	ChainingNotSupported   SW = 0x6884
	CommandIncompatible    SW = 0x6981
	SecurityNotSatisfied   SW = 0x6982
	AuthBlocked            SW = 0x6983
	ReferencedDataInvalid  SW = 0x6984
	ConditionsNotSatisfied SW = 0x6985
	NoCurrentEF            SW = 0x6986
	WrongData              SW = 0x6A80
	FunctionNotSupported   SW = 0x6A81
	FileNotFound           SW = 0x6A82
	RecordNotFound         SW = 0x6A83
	NotEnoughMemory        SW = 0x6A84
	WrongP1P2              SW = 0x6A86
	LcInconsistentP1P2     SW = 0x6A87
	ReferencedDataNotFound SW = 0x6A88
	WrongP1P2NoInfo        SW = 0x6B00
	WrongLe                SW = 0x6C00 // 6Cxx: xx bytes are there
	InsNotSupported        SW = 0x6D00
	ClaNotSupported        SW = 0x6E00
	NoPreciseDiagnosis     SW = 0x6F00
	IncreaseMaxReached     SW = 0x9850 // TS 102 221 10.2.1.7
	AuthIncorrectMAC       SW = 0x9862 // TS 102 221 10.2.1.7
	SecuritySessionExpired SW = 0x9863
)
