package mrtd

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"time"

	"github.com/sspemu/sspemu/bundles/eid/inspect"
	"github.com/sspemu/sspemu/bundles/eid/lds"
	"github.com/sspemu/sspemu/bundles/eid/sm"
	"github.com/sspemu/sspemu/internal/apdu"
)

// Steps are the protocols one by one, for those who want to stop between them: the
// conformance suites.
type Steps struct{ s *inspection }

// Begin makes Steps on a card. Where it stands is up to the caller: PACE is done in the
// master file, everything else in the application.
func Begin(card inspect.Card, c Config) *Steps {
	if c.Random == nil {
		c.Random = rand.Reader
	}
	return &Steps{&inspection{Config: c, r: &inspect.Report{Date: time.Now()}, ch: channel{card: &watched{Card: card}}, files: map[string][]byte{}}}
}

// Session is the secure messaging of now, nil for none.
func (t *Steps) Session() *sm.Session { return t.s.ch.sm }

// Send sends a command, protected in a session.
func (t *Steps) Send(ctx context.Context, capdu []byte) ([]byte, apdu.SW, error) {
	return t.s.ch.send(ctx, capdu)
}

// File selects a file and reads it.
func (t *Steps) File(ctx context.Context, fid uint16) ([]byte, error) {
	return t.s.ch.file(ctx, fid, false)
}

// failed is the first check that did not pass, as an error. What a protocol uses up is
// the business of somebody who looks at it alone.
func (t *Steps) failed() error {
	for _, c := range t.s.r.Checks {
		if c.Result != inspect.Pass && c.Name != namePACENonce && c.Name != nameBACChallenge {
			return fmt.Errorf("%s: %s (%s)", c.Name, c.Why, c.Clause)
		}
	}
	return nil
}

// PACE reads EF.CardAccess and does PACE in the way that has these words in its name.
func (t *Steps) PACE(ctx context.Context, words string) error {
	b, err := t.s.ch.file(ctx, lds.FIDCardAccess, false)
	if err != nil {
		return fmt.Errorf("EF.CardAccess: %w", err)
	}
	infos, err := lds.ParseSecurityInfos("EF.CardAccess", b)
	if err != nil {
		return err
	}
	info, err := choose(infos, words)
	if err != nil {
		return err
	}
	if info == nil {
		return errors.New("EF.CardAccess has no PACEInfo")
	}
	several := 0
	for _, i := range infos {
		if string(i.OID) == string(info.OID) {
			several++
		}
	}
	if err := t.s.pace(ctx, info, several > 1); err != nil {
		return err
	}
	if info.Protocol.Mapping == lds.ChipAuthentication {
		if err := t.cam(ctx); err != nil {
			return err
		}
	}
	return t.failed()
}

// cam verifies the chip authentication data with EF.CardSecurity, whose signature is
// somebody else's business.
func (t *Steps) cam(ctx context.Context) error {
	b, err := t.s.ch.file(ctx, lds.FIDCardSecurity, false)
	if err != nil {
		return fmt.Errorf("EF.CardSecurity: %w", err)
	}
	infos, err := securityInfos(b)
	t.s.camCheck(infos, err)
	return nil
}

// BAC does basic access control.
func (t *Steps) BAC(ctx context.Context) error {
	if err := t.s.bac(ctx); err != nil {
		return err
	}
	return t.failed()
}

// ChipAuthentication does it with the strongest protocol of data group 14, or the one
// with this cipher: 3des, aes-128, aes-192, aes-256.
func (t *Steps) ChipAuthentication(ctx context.Context, cipher string) error {
	infos, err := t.infos(ctx)
	if err != nil {
		return err
	}
	if cipher != "" {
		var some []lds.SecurityInfo
		for _, i := range infos {
			if i.Protocol == nil || i.Protocol.Kind != lds.KindCA || matches(i.Protocol.Name, cipher) {
				some = append(some, i)
			}
		}
		infos = some
	}
	if err := t.s.chipAuthentication(ctx, infos); err != nil {
		return err
	}
	return t.failed()
}

func (t *Steps) infos(ctx context.Context) ([]lds.SecurityInfo, error) {
	b, err := t.s.ch.file(ctx, lds.GroupFID(14), false)
	if err != nil {
		return nil, fmt.Errorf("DG14: %w", err)
	}
	return lds.ParseDG14(b)
}

// ActiveAuthentication does it with the key of data group 15.
func (t *Steps) ActiveAuthentication(ctx context.Context) error {
	infos, err := t.infos(ctx)
	if err != nil && !errors.Is(err, errAbsent) {
		return err
	}
	b, err := t.s.ch.file(ctx, lds.GroupFID(15), false)
	if err != nil {
		return fmt.Errorf("DG15: %w", err)
	}
	if err := t.s.activeAuthentication(ctx, b, infos); err != nil {
		return err
	}
	return t.failed()
}

// TerminalAuthentication does it with the certificates of the Config.
func (t *Steps) TerminalAuthentication(ctx context.Context) error {
	infos, err := t.infos(ctx)
	if err != nil {
		return err
	}
	t.s.trustPoints(ctx, infos)
	if !t.s.terminalAuthentication(ctx) {
		return errors.Join(t.failed(), errors.New("the chip does not give the rights"))
	}
	return t.failed()
}
