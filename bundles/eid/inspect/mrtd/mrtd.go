// Package mrtd is the inspection system for travel documents: it gets access to the
// chip, reads it, and verifies all that can be verified.
//
//	Config (passwords, anchors) ──> Inspect ──APDU──> chip
//	                                   │
//	                                   └─> inspect.Report: checks with clause, data, portrait
//
//	mrtd.go      the procedure         access.go    BAC, PACE      passive.go  signatures, hashes
//	channel.go   commands, files       chip.go      CA, CAM, AA    data.go     data groups in words
//	mapping.go   integrated mapping    terminal.go  TA             password.go what the holder shows
//
// It reads real documents: what is optional may be missing, and what the card says is
// bounded, whatever it says. One thing that fails does not keep it from looking at the
// rest.
//
// Sources: ICAO Doc 9303-10 (files), -11 (protocols; the procedure is 4.2), -12 (PKI); BSI
// TR-03110-1, -3 (extended access).
package mrtd

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/sspemu/sspemu/bundles/eid/inspect"
	"github.com/sspemu/sspemu/bundles/eid/lds"
	"github.com/sspemu/sspemu/internal/ec"
)

// Config is what the inspection system knows and wants.
type Config struct {
	Passwords Passwords
	Anchors   *Anchors  // nil: signatures are verified, but not up to a trust anchor
	Terminal  *Terminal // nil: no terminal authentication
	PACE      string    // words of the name of a protocol; "": the strongest; "none": BAC
	Short     bool      // never use extended lengths
	Random    io.Reader // nil: crypto/rand
}

// inspection is one document being inspected.
type inspection struct {
	Config
	r  *inspect.Report
	ch channel

	files   map[string][]byte // that were read: "EF.SOD", "DG1"
	secured bool              // secure messaging was there

	access []lds.SecurityInfo // of EF.CardAccess
	id     []byte             // ID_IC of terminal authentication
	cars   []string           // trust points of the chip

	cam       []byte // chip authentication data of PACE-CAM
	camWrong  error
	camMapped ec.Point
	camCurve  *ec.Curve

	ephemeral []byte // of chip authentication: the terminal's public key, compressed
}

// Names of checks that others look for.
const (
	nameAccess = "Access to the chip"
	nameSM     = "Secure messaging"
)

// Inspect reads and verifies a document and tells all in r. The error is only of the
// link; what is wrong with the document is in the report.
func Inspect(ctx context.Context, card inspect.Card, c Config, r *inspect.Report) error {
	r.Kind = "Travel document"
	if c.Random == nil {
		c.Random = rand.Reader
	}
	if r.Date.IsZero() {
		r.Date = time.Now().UTC()
	}
	s := &inspection{Config: c, r: r, ch: channel{card: &watched{Card: card}}, files: map[string][]byte{}}
	start := time.Now()
	s.read(ctx)
	took := time.Since(start)
	if s.ch.card.(*watched).err != nil && len(s.files) == 0 {
		return s.ch.card.(*watched).err
	}
	for _, name := range []string{"Holder", "Document", "Portrait", "Signature", "Biometrics", "Persons to notify"} {
		r.Section(name) // in this order
	}
	s.passive()
	s.describe()
	size := 0
	for _, f := range s.files {
		size += len(f)
	}
	r.Note("read %d files with %d octets by %d commands in %s", len(s.files), size, s.ch.sent, took.Round(100*time.Microsecond))
	return ctx.Err()
}

// watched remembers that the link failed, which is not the document's fault.
type watched struct {
	inspect.Card
	err error
}

func (w *watched) Transmit(ctx context.Context, capdu, dst []byte) ([]byte, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	r, err := w.Card.Transmit(ctx, capdu, dst)
	if err != nil {
		w.err = err
	}
	return r, err
}

// keep reads a file and keeps it; a file that is not there is no error. goes tells
// whether reading can go on.
func (s *inspection) keep(ctx context.Context, name string, fid uint16, whole bool) (goes bool) {
	b, err := s.ch.file(ctx, fid, whole)
	switch {
	case err == nil:
		s.files[name] = b
		return true
	case errors.Is(err, errAbsent):
		return true
	case errors.Is(err, errRefused):
		s.r.NotDone("Reading "+name, "Doc 9303-10 3.11", "the chip does not give it to this terminal")
		return true
	}
	clause := "Doc 9303-10 3.6"
	if errors.Is(err, errProtected) {
		s.r.Fail(nameSM, "Doc 9303-11 9.8", "%s: %s", name, err)
	} else {
		s.r.Fail("Reading "+name, clause, "%s", err)
	}
	if len(b) > 0 {
		s.files[name] = b
	}
	var status *statusError
	return errors.Is(err, errTooLarge) || errors.Is(err, errCut) || errors.As(err, &status) && (s.ch.sm != nil || !s.secured)
}

// read is the inspection procedure (Doc 9303-11 4.2).
func (s *inspection) read(ctx context.Context) {
	s.readMF(ctx)
	if s.ch.card.(*watched).err != nil {
		return
	}
	if !s.enter(ctx) {
		return
	}
	if !s.keep(ctx, "EF.COM", lds.FIDCOM, false) {
		return
	}
	if s.files["EF.COM"] != nil {
		s.beyond(ctx)
	}
	if !s.keep(ctx, "EF.SOD", lds.FIDSOD, false) {
		return
	}
	groups := s.present()
	if slices.Contains(groups, 14) && !s.keep(ctx, "DG14", lds.GroupFID(14), false) {
		return
	}
	infos, err := s.infos14()
	if err != nil {
		s.r.Fail("DG14", "Doc 9303-11 9.2", "%s", err)
	}
	if s.files["DG14"] == nil {
		s.r.NotDone(nameCA, "Doc 9303-11 6.2", "the document has no DG14")
	} else if err := s.chipAuthentication(ctx, infos); err != nil {
		return
	}
	if slices.Contains(groups, 15) {
		if !s.keep(ctx, "DG15", lds.GroupFID(15), false) {
			return
		}
	}
	if b := s.files["DG15"]; b == nil {
		s.r.NotDone(nameAA, "Doc 9303-11 6.1", "the document has no DG15")
	} else if err := s.activeAuthentication(ctx, b, infos); err != nil {
		return
	}
	for _, g := range groups {
		if g == 3 || g == 4 || g == 14 || g == 15 {
			continue
		}
		if !s.keep(ctx, groupName(g), lds.GroupFID(g), false) {
			return
		}
	}
	if slices.Contains(groups, 3) || slices.Contains(groups, 4) {
		s.trustPoints(ctx, infos)
		s.terminalAuthentication(ctx)
		for _, g := range []int{3, 4} {
			if slices.Contains(groups, g) && !s.keep(ctx, groupName(g), lds.GroupFID(g), false) {
				return
			}
		}
	}
	if s.secured && s.ch.sm != nil {
		s.r.Pass(nameSM, "Doc 9303-11 9.8", "every answer was protected as it has to be, with the counter of the session")
	}
	if s.ch.short {
		s.r.Warn("READ BINARY", "Doc 9303-10 3.6.3.2", "the chip gives fewer octets than were asked for, in the middle of a file")
	}
	if s.secured && s.ch.sm != nil {
		s.leave(ctx)
	}
}

// beyond reads EF.COM, which is current, where no EF.COM is as long: a chip that gives
// something there would give octets for ever to whoever reads to the end.
func (s *inspection) beyond(ctx context.Context) {
	const far = 0x7F00
	b, sw, err := s.ch.read(ctx, far, 16)
	switch {
	case err != nil: // the files that come next tell it
	case len(b) > 0 && (sw == 0x9000 || sw == 0x6282):
		s.r.Fail("READ BINARY", "Doc 9303-10 3.6.3.2", "EF.COM has octets at %d, where it cannot have any: its end is not told", far)
	default:
		s.r.Pass("READ BINARY", "Doc 9303-10 3.6.3.2", "there is nothing behind the end of a file")
	}
}

// leave ends the session the hard way: a command in plain has to end it, and then the
// chip has to be closed again (Doc 9303-11 9.8.1).
func (s *inspection) leave(ctx context.Context) {
	const clause = "Doc 9303-11 9.8.1"
	s.ch.sm = nil
	get := command(0, 0xB0, 0x80|lds.SFICOM, 0, nil, 4)
	b, _, err := s.ch.send(ctx, get)
	if err != nil {
		return
	}
	if len(b) > 0 {
		s.r.Fail("End of the session", clause, "the chip answers a command in plain within secure messaging, with data")
	} else {
		s.r.Pass("End of the session", clause, "the chip does not answer a command in plain within secure messaging")
	}
	if _, _, err = s.ch.send(ctx, command(0, 0xA4, 0x04, 0x0C, lds.AID, -1)); err != nil {
		return
	}
	if b, _, err = s.ch.send(ctx, get); err != nil {
		return
	}
	if len(b) > 0 {
		s.r.Fail("Access control", "Doc 9303-11 4.2", "without a session the chip gives EF.COM to everybody")
	} else {
		s.r.Pass("Access control", "Doc 9303-11 4.2", "without a session the chip gives nothing any more")
	}
}

func groupName(n int) string { return fmt.Sprintf("DG%d", n) }

// present are the data groups that the document has: those of EF.COM and of EF.SOD, each
// once.
func (s *inspection) present() (groups []int) {
	add := func(n int) {
		if n >= 1 && n <= lds.Groups && !slices.Contains(groups, n) {
			groups = append(groups, n)
		}
	}
	if c, err := lds.ParseCOM(s.files["EF.COM"]); err == nil {
		for _, n := range c.Groups {
			add(n)
		}
	}
	if o, _, err := s.signedObject(); err == nil {
		for _, h := range o.Groups {
			add(h.Group)
		}
	}
	if len(groups) == 0 {
		groups = []int{1, 2, 14, 15}
	}
	slices.Sort(groups)
	return groups
}

// readMF reads what the master file gives to everybody.
func (s *inspection) readMF(ctx context.Context) {
	if _, _, err := s.ch.send(ctx, command(0, 0xA4, 0x00, 0x0C, []byte{0x3F, 0x00}, -1)); err != nil { // some documents have no answer to it
		s.r.Fail(nameAccess, "Doc 9303-10 3.6.1", "%s", err)
		return
	}
	if s.keep(ctx, "EF.ATR/INFO", lds.FIDATRInfo, true) && s.files["EF.ATR/INFO"] != nil && !s.Short {
		s.lengths(ctx)
	}
	if !s.keep(ctx, "EF.DIR", lds.FIDDIR, true) || !s.keep(ctx, "EF.CardAccess", lds.FIDCardAccess, false) {
		return
	}
	if b := s.files["EF.CardAccess"]; b != nil {
		infos, err := lds.ParseSecurityInfos("EF.CardAccess", b)
		s.r.Is(err, "EF.CardAccess", "Doc 9303-11 9.2.9", "%d SecurityInfos", len(infos))
		s.access = infos
	}
}

// lengths finds out whether extended lengths can be used: the chip says so (Doc 9303-10
// 3.6.4.2), and the reader carries them.
func (s *inspection) lengths(ctx context.Context) {
	info, err := lds.ParseATRInfo(s.files["EF.ATR/INFO"])
	if err != nil {
		s.r.Warn("EF.ATR/INFO", "Doc 9303-10 3.11.1", "%s", err)
		return
	}
	if info.Response <= 300 || info.Command <= 300 {
		return
	}
	w := s.ch.card.(*watched)
	capdu := command(0, 0xB0, 0x80|lds.SFIATRInfo, 0, nil, 512)
	data, sw, err := inspect.Exchange(ctx, w, capdu)
	if s.ch.sent++; err != nil {
		w.err = nil // the reader does not carry it
		return
	}
	if (sw == 0x9000 || sw == 0x6282) && bytes.HasPrefix(data, s.files["EF.ATR/INFO"]) {
		s.ch.extended = info.Response
	}
}

// enter gets access to the application: PACE or BAC (Doc 9303-11 4.2).
func (s *inspection) enter(ctx context.Context) bool {
	pace, err := choose(s.access, s.PACE)
	if s.PACE == "none" {
		pace, err = nil, nil
	}
	if err != nil {
		s.r.NotDone("PACE", "Doc 9303-11 4.4", "%s", err)
	}
	if pace != nil && !s.Passwords.none() {
		several := 0
		for _, i := range s.access {
			if i.Protocol != nil && bytes.Equal(i.OID, pace.OID) {
				several++
			}
		}
		_, password, _ := s.Passwords.password()
		if err := s.pace(ctx, pace, several > 1); err != nil {
			s.r.Fail(nameAccess, "Doc 9303-11 4.4", "PACE with the %s: %s", password, err)
			return false
		}
		curve, _ := ec.ByID(pace.Parameters)
		s.secured = true
		s.r.Pass(nameAccess, "Doc 9303-11 4.4", "PACE with the %s: %s on %s", password, pace.Protocol.Name, curve.Name)
		if !s.keep(ctx, "EF.CardSecurity", lds.FIDCardSecurity, false) {
			return false
		}
	}
	if _, err := s.ch.must(ctx, "SELECT of the eMRTD application", command(0, 0xA4, 0x04, 0x0C, lds.AID, -1)); err != nil {
		s.r.Fail(nameAccess, "Doc 9303-10 3.6.2", "%s", err)
		return false
	}
	if s.secured {
		return true
	}
	// In plain: a document without access control gives EF.COM.
	_, sw, err := s.ch.send(ctx, command(0, 0xB0, 0x80|lds.SFICOM, 0, nil, 4))
	switch {
	case err != nil:
		s.r.Fail(nameAccess, "Doc 9303-11 4.2", "%s", err)
		return false
	case sw == 0x9000:
		s.r.Warn(nameAccess, "Doc 9303-11 4.2", "the chip gives its data to everybody: it has no access control, or does not enforce it")
		return true
	case s.Passwords.MRZ == "":
		if len(s.access) > 0 && s.Passwords.none() {
			s.r.Fail(nameAccess, "Doc 9303-11 4.2", "the chip wants a password: the machine readable zone or the card access number")
		} else {
			s.r.Fail(nameAccess, "Doc 9303-11 4.3", "the chip wants basic access control, for which the machine readable zone is needed")
		}
		return false
	}
	if err := s.bac(ctx); err != nil {
		s.r.Fail(nameAccess, "Doc 9303-11 4.3", "BAC: %s", err)
		return false
	}
	s.secured = true
	why := "BAC with the MRZ, 3DES"
	if pace != nil {
		why += "; the chip offers PACE, which is stronger"
	}
	s.r.Pass(nameAccess, "Doc 9303-11 4.3", "%s", why)
	return true
}

// infos14 are the SecurityInfos of data group 14.
func (s *inspection) infos14() ([]lds.SecurityInfo, error) {
	if s.files["DG14"] == nil {
		return nil, nil
	}
	return lds.ParseDG14(s.files["DG14"])
}

// names are file names, one after the other.
func names(groups []int) string {
	var all []string
	for _, g := range groups {
		all = append(all, groupName(g))
	}
	return strings.Join(all, ", ")
}
