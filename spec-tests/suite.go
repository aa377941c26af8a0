package spectests

// Suite is one file of cases about one part of a standard.
type Suite struct {
	Name     string // of the file, without folder and ending
	Bundle   string // that it is about; DefaultBundle for those about the platform
	Standard string // "ETSI TS 102 221"
	Version  string // release the cases were written after
	Title    string
	Clauses  []Clause // in the order of the file; what has no case is not covered
	Cases    []Case
}

// DefaultBundle is the bundle of a suite that does not name one.
const DefaultBundle = "telecom"

// Clause is a clause of the standard.
type Clause struct{ Number, Title string }

// Case is one thing that a clause asks for.
type Case struct {
	ID          string // unique in its suite
	Clause      string // one of Suite.Clauses
	Title       string // what must hold, as a sentence
	Requirement string // identifier of the requirement where the standard numbers them
	Provisional string // why passing proves less than it seems; "" if it does not
	Profile     []string
	Persona     []Change // a fresh card with these changes is made for the case
	Needs       []string // abilities and variables of the Target, sorted

	Given   []Step // what brings the card into the state that the case starts from
	Steps   []Step
	Finally []Step // always played, also after a failure; their results do not count

	Where string // file:line
}

// Change replaces one value of the persona. Pointer is a JSON pointer (RFC
// 6901), Value a string, an int64, a bool or a list of strings; nil takes the
// member away.
type Change struct {
	Pointer string
	Value   any
}

// Step is one exchange, a reset, or a check by itself.
type Step struct {
	Reset  string // "cold" or "warm"; else ""
	Send   template
	Expect *pattern // of the response data; nil: any
	SW     statuses // nil: 9000
	Checks []checkCall
	Save   []save

	Where string // file:line
}

// save keeps part of the response data as a variable.
type save struct {
	name string
	from int
	n    int // -1: to the end
	tag  string
}

// checkCall is a named check with its arguments.
type checkCall struct {
	name string
	args []template
}

// Abilities that a Target may have besides a terminal, for Case.Needs. Every
// other word there is a variable.
const (
	AbilityNetwork     = "network"
	AbilityLink        = "link"
	AbilityAttach      = "attach"
	AbilityPlatform    = "platform"
	AbilityPersonalise = "personalise"
	AbilityProfile     = "profile"
	AbilityDocument    = "document"
	AbilityWaiting     = "waiting"
)
