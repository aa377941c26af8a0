package acl

// Words by which the handshake tells the interface (GPC_TEN_214, handshake).
const (
	contact     = "contact"
	contactless = "contactless"
	events      = "events"
)

// request is what a command wants: its key "request".
type request int

// Request identifiers (GPC_TEN_214, commands).
const (
	reqConnect            request = 0 // reserved
	reqDiag               request = 1
	reqDisconnect         request = 2
	reqEcho               request = 3
	reqInit               request = 4 // reserved
	reqRestart            request = 5 // reserved
	reqCommand            request = 6
	reqCommandA           request = 7
	reqCommandB           request = 8
	reqCommandF           request = 9
	reqColdReset          request = 10
	reqWarmReset          request = 11
	reqPowerOffField      request = 12
	reqPowerOnField       request = 13
	reqPollA              request = 14
	reqPollB              request = 15
	reqPollF              request = 16
	reqPollAll            request = 17
	reqDeactivate         request = 18
	reqActivate           request = 19
	reqGetNotifications   request = 20
	reqClearNotifications request = 21
)

var requestNames = [...]string{
	"CONNECT", "DIAG", "DISCONNECT", "ECHO", "INIT", "RESTART", "COMMAND", "COMMAND_A", "COMMAND_B", "COMMAND_F",
	"COLD_RESET", "WARM_RESET", "POWER_OFF_FIELD", "POWER_ON_FIELD", "POLL_TYPE_A", "POLL_TYPE_B", "POLL_TYPE_F",
	"POLL_TYPE_ALL_TYPES", "DEACTIVATE_INTERFACE", "ACTIVATE_INTERFACE", "GET_NOTIFICATIONS", "CLEAR_NOTIFICATIONS",
}

func (r request) String() string {
	if r < 0 || int(r) >= len(requestNames) {
		return "unknown request"
	}
	return requestNames[r]
}

// reserved requests do nothing and have an empty response.
func (r request) reserved() bool { return r == reqConnect || r == reqInit || r == reqRestart }

// on tells whether an interface has the request.
func (r request) on(iface string) bool {
	switch r {
	case reqDiag, reqDisconnect, reqEcho, reqActivate, reqDeactivate, reqConnect, reqInit, reqRestart:
		return true
	case reqCommand, reqColdReset, reqWarmReset:
		return iface == contact
	case reqGetNotifications, reqClearNotifications:
		return iface == events
	}
	return false
}

// Error codes (GPC_TEN_214, error codes); codeOther is the reference programs' own.
const (
	codeSuccess         = 0
	codeTimeout         = -1
	codeNetwork         = -2
	codeClientClosed    = -3
	codeInvalidState    = -4
	codeInvalidRequest  = -5
	codeJSONParsing     = -6
	codeInvalidTerminal = -7
	codeOther           = -8
)

var codeNames = map[int]string{
	codeSuccess: "SUCCESS", codeTimeout: "TIMEOUT", codeNetwork: "NETWORK", codeClientClosed: "CLIENT_CLOSED",
	codeInvalidState: "INVALID_STATE", codeInvalidRequest: "INVALID_REQUEST", codeJSONParsing: "JSON_PARSING",
	codeInvalidTerminal: "INVALID_TERMINAL", codeOther: "OTHER",
}

// Texts of responses: a description of what went well, and the response when
// something did not, or, from the reference programs, when it did.
const (
	textOK = "OK"
	textKO = "KO"
)
