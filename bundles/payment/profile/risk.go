package profile

// Rule is one line of the card risk management: when Condition holds, the outcome is
// no better than Action.
type Rule struct {
	Condition Condition
	Limit     uint64 // of the conditions that end in "above"
	Action    Action
}

// Condition is what a rule asks.
type Condition byte

// Conditions, with the words of the persona.
const (
	Always           Condition = iota // always
	FirstTransaction                  // new-card: no transaction was completed online yet
	PINTryLimit                       // pin-try-limit-exceeded
	PINFailed                         // pin-failed: the last VERIFY of this transaction was wrong
	PINNotVerified                    // pin-not-verified in this transaction
	ConsecutiveAbove                  // consecutive-offline-above: transactions offline in a row, this one included
	CumulativeAbove                   // cumulative-offline-above: their amount in the card's currency, this one included
	AmountAbove                       // amount-above: the amount of this transaction, a floor limit
	ForeignCurrency                   // foreign-currency: another than the application's
	ForeignCountry                    // foreign-country: the terminal's is not the issuer's
	LastNotCompleted                  // last-online-not-completed
	LastAuthFailed                    // last-issuer-authentication-failed
	LastScriptFailed                  // last-script-failed
	LastODAFailed                     // last-offline-authentication-failed
)

// conditions by word.
var conditions = [...]string{
	Always: "always", FirstTransaction: "new-card", PINTryLimit: "pin-try-limit-exceeded", PINFailed: "pin-failed",
	PINNotVerified: "pin-not-verified", ConsecutiveAbove: "consecutive-offline-above", CumulativeAbove: "cumulative-offline-above",
	AmountAbove: "amount-above", ForeignCurrency: "foreign-currency", ForeignCountry: "foreign-country",
	LastNotCompleted: "last-online-not-completed", LastAuthFailed: "last-issuer-authentication-failed",
	LastScriptFailed: "last-script-failed", LastODAFailed: "last-offline-authentication-failed",
}

// String is the word of the persona.
func (c Condition) String() string { return conditions[c] }

// limited tells whether a condition has a limit.
func (c Condition) limited() bool {
	return c == ConsecutiveAbove || c == CumulativeAbove || c == AmountAbove
}

// Action is what a rule wants, from the mildest on.
type Action byte

// Actions.
const (
	Online         Action = iota // online: ask the issuer
	DeclineOffline               // decline-if-offline: ask the issuer, decline when that is not possible
	Decline                      // decline
)

var actions = [...]string{Online: "online", DeclineOffline: "decline-if-offline", Decline: "decline"}

// String is the word of the persona.
func (a Action) String() string { return actions[a] }

// word finds a word in a list, -1 when it is not there.
func word(list []string, w string) int {
	for i, s := range list {
		if s == w {
			return i
		}
	}
	return -1
}
