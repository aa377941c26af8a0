package payment

import "github.com/sspemu/sspemu/bundles/payment/profile"

// verdict of card risk management, from the best to the worst.
type verdict byte

const (
	approve verdict = iota
	goOnline
	decline
)

// risk is the strictest of the persona's rules that hold. offline tells that the
// terminal could not go online: then asking for it means nothing.
func (c *Card) risk(offline bool) (v verdict) {
	for _, r := range c.now.app.Risk {
		if !c.holds(r) {
			continue
		}
		w := goOnline
		switch {
		case r.Action == profile.Decline, r.Action == profile.DeclineOffline && offline:
			w = decline
		case offline:
			w = approve
		}
		v = max(v, w)
	}
	return v
}

// holds tells whether the condition of a rule is there. What is counted includes this
// transaction.
func (c *Card) holds(r profile.Rule) bool {
	t := &c.now
	a := t.app
	s := &a.state
	switch r.Condition {
	case profile.Always:
		return true
	case profile.FirstTransaction:
		return s.lastOnline == 0
	case profile.PINTryLimit:
		return a.PINTries > 0 && s.tries == 0
	case profile.PINFailed:
		return t.verify == wrong
	case profile.PINNotVerified:
		return t.verify != passed
	case profile.ConsecutiveAbove:
		return uint64(s.consecutive)+1 > r.Limit
	case profile.CumulativeAbove:
		return c.cumulative() > r.Limit
	case profile.AmountAbove:
		return number(c.terminal(tagAmount)) > r.Limit
	case profile.ForeignCurrency:
		return string(c.terminal(tagCurrency)) != string(a.Currency[:])
	case profile.ForeignCountry:
		return string(c.terminal(tagTerminal)) != string(a.Country[:])
	case profile.LastNotCompleted:
		return s.has(onlineOpen)
	case profile.LastAuthFailed:
		return s.has(issuerAuthWrong)
	case profile.LastScriptFailed:
		return s.has(scriptWrong)
	case profile.LastODAFailed:
		return s.has(odaWrong)
	}
	return false
}

// cumulative is the offline amount with this transaction; one in another currency does
// not count.
func (c *Card) cumulative() uint64 {
	a := c.now.app
	if string(c.terminal(tagCurrency)) != string(a.Currency[:]) {
		return a.state.cumulative
	}
	return a.state.cumulative + number(c.terminal(tagAmount))
}

// above tells whether a limit of this condition and action is exceeded.
func (c *Card) above(cond profile.Condition, act profile.Action) bool {
	for _, r := range c.now.app.Risk {
		if r.Condition == cond && r.Action == act && c.holds(r) {
			return true
		}
	}
	return false
}

// limits tells which limits this transaction exceeds: lower and upper, consecutive and
// cumulative.
func (c *Card) limits() [4]bool {
	return [4]bool{
		c.above(profile.ConsecutiveAbove, profile.Online), c.above(profile.ConsecutiveAbove, profile.DeclineOffline),
		c.above(profile.CumulativeAbove, profile.Online), c.above(profile.CumulativeAbove, profile.DeclineOffline),
	}
}
