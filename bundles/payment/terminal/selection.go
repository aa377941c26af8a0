package terminal

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"sort"

	"github.com/sspemu/sspemu/bundles/payment/emv"
	"github.com/sspemu/sspemu/internal/apdu"
	"github.com/sspemu/sspemu/internal/tlv"
)

// Directories (Book 1 12.2.2, Book B 3.3).
const (
	namePSE  = "1PAY.SYS.DDF01"
	namePPSE = "2PAY.SYS.DDF01"
)

const (
	swBlocked   = 0x6283
	swNoRecord  = 0x6A83
	swCardBlock = 0x6A81
)

// candidate is an application that both sides have.
type candidate struct {
	aid      []byte
	label    string
	priority byte
	kernel   byte
	partial  bool // the AID may be the beginning of a name
}

func selectCommand(name []byte, p2 byte) apdu.Command {
	return apdu.Command{INS: 0xA4, P1: 0x04, P2: p2, Data: name, Ne: 256}
}

// candidates makes the candidate list (Book 1 12.3), the best first. With GoOn a
// directory that is wrong is none.
func (r *run) candidates(ctx context.Context) (list []candidate, err error) {
	if r.Contactless {
		list, err = r.ppse(ctx)
	} else {
		if list, err = r.pse(ctx); err != nil {
			list, err = nil, r.goOn("Payment system environment", err)
		}
		if err == nil && len(list) == 0 {
			list, err = r.byList(ctx)
		}
	}
	if err != nil {
		return nil, err
	}
	if r.AID != nil {
		list = slices.DeleteFunc(list, func(c candidate) bool { return !bytes.HasPrefix(c.aid, r.AID) })
		if len(list) == 0 {
			list = []candidate{{aid: r.AID, partial: true}}
		}
	}
	if len(list) == 0 {
		return nil, ErrNoApplication
	}
	if !r.Confirmed && !r.Contactless && !r.ReadOnly && r.AID == nil { // Book 1 12.4 steps 2 and 5
		list = slices.DeleteFunc(list, func(c candidate) bool { return c.priority&0x80 != 0 })
		if len(list) == 0 {
			return nil, ErrConfirmation
		}
	}
	sort.SliceStable(list, func(i, j int) bool { return rank(list[i]) < rank(list[j]) })
	return list, nil
}

// knows tells whether the terminal's list names an application of a directory.
func (r *run) knows(aid []byte) bool {
	return !r.Listed || slices.ContainsFunc(r.AIDs, func(known []byte) bool { return bytes.HasPrefix(aid, known) })
}

// rank puts priority 1 first and applications without one last (Book 1 12.4).
func rank(c candidate) byte {
	if c.priority&0xF == 0 {
		return 16
	}
	return c.priority & 0xF
}

// pse reads the payment system directory; no candidates and no error when the card has
// none (Book 1 12.3.2).
func (r *run) pse(ctx context.Context) (list []candidate, err error) {
	sfi := byte(0)
	err = r.send(ctx, "SELECT the payment system environment", selectCommand([]byte(namePSE), 0), func(data []byte, sw apdu.SW) ([]string, error) {
		switch sw {
		case swCardBlock:
			return nil, fatal(wrong("EMV Book 1 12.3.2", "the card is blocked"))
		case apdu.OK:
		default:
			return []string{"no directory: " + sw.Words()}, nil
		}
		v, err := tlv.Path(data, 0x6F, 0xA5, 0x88)
		if err != nil || len(v) != 1 || v[0] < 1 || v[0] > 10 {
			return nil, wrong("EMV Book 1 table 8", "the FCI of the directory has no SFI of 1 to 10")
		}
		sfi = v[0]
		return []string{fmt.Sprintf("directory in file %d", sfi)}, nil
	})
	for n := byte(1); err == nil && sfi != 0 && n < 255; n++ {
		end := false
		err = r.send(ctx, fmt.Sprintf("READ RECORD %d of the directory", n), apdu.Command{INS: 0xB2, P1: n, P2: sfi<<3 | 4, Ne: 256}, func(data []byte, sw apdu.SW) ([]string, error) {
			if sw == swNoRecord {
				end = true
				return []string{"that was all"}, nil
			}
			if sw != apdu.OK {
				return nil, unexpected("EMV Book 1 12.3.2", "READ RECORD", sw)
			}
			rec, err := tlv.Find(data, 0x70)
			if err != nil {
				return nil, wrong("EMV Book 1 table 11", "the record has no template 70")
			}
			found, notes, err := r.entries(rec)
			list = append(list, found...)
			return notes, err
		})
		if end {
			break
		}
	}
	return list, err
}

// ppse reads the proximity payment system environment (Book B 3.3).
func (r *run) ppse(ctx context.Context) (list []candidate, err error) {
	err = r.send(ctx, "SELECT the proximity payment system environment", selectCommand([]byte(namePPSE), 0), func(data []byte, sw apdu.SW) ([]string, error) {
		if sw != apdu.OK {
			return nil, unexpected("EMV Contactless Book B 3.3.2", "SELECT PPSE", sw)
		}
		dir, err := tlv.Path(data, 0x6F, 0xA5, 0xBF0C)
		if err != nil {
			return nil, wrong("EMV Contactless Book B table 3-2", "the FCI of PPSE has no BF0C")
		}
		var notes []string
		list, notes, err = r.entries(dir)
		return notes, err
	})
	return list, err
}

// entries reads directory entries (Book 1 table 12, Book B table 3-3).
func (r *run) entries(b []byte) (list []candidate, notes []string, err error) {
	for rd := tlv.Read(b); rd.Next(); {
		if rd.Tag != 0x61 {
			continue
		}
		var c candidate
		for e := tlv.Read(rd.Value); e.Next(); {
			switch e.Tag {
			case 0x4F:
				c.aid = bytes.Clone(e.Value)
			case 0x50:
				c.label = string(e.Value)
			case 0x87:
				if len(e.Value) == 1 {
					c.priority = e.Value[0]
				}
			case 0x9F2A:
				if len(e.Value) > 0 {
					c.kernel = e.Value[0] & 0x3F
				}
			}
		}
		if len(c.aid) < 5 || len(c.aid) > 16 {
			return list, notes, wrong("EMV Book 1 table 12", "a directory entry without an AID of 5 to 16 bytes")
		}
		note := fmt.Sprintf("%X %s, priority %d", c.aid, c.label, c.priority&0xF)
		if r.knows(c.aid) {
			list = append(list, c)
		} else {
			note += ": not one of the terminal's"
		}
		notes = append(notes, note)
	}
	return list, notes, nil
}

// byList tries the AIDs of the terminal, each with all its occurrences (Book 1 12.3.3).
func (r *run) byList(ctx context.Context) (list []candidate, err error) {
	for _, aid := range r.AIDs {
		p2 := byte(0)
		for range 20 {
			end := false
			err := r.send(ctx, "SELECT by the terminal's list", selectCommand(aid, p2), func(data []byte, sw apdu.SW) ([]string, error) {
				switch sw {
				case apdu.OK, swBlocked:
				case swCardBlock:
					return nil, fatal(wrong("EMV Book 1 12.3.3", "the card is blocked"))
				default:
					end = true
					return []string{sw.Words()}, nil
				}
				name, err := tlv.Path(data, 0x6F, 0x84)
				if err != nil || !bytes.HasPrefix(name, aid) || len(name) > 16 {
					end = true
					return nil, wrong("EMV Book 1 table 10", "the FCI has no DF name (84) that begins with the AID")
				}
				c := candidate{aid: bytes.Clone(name)}
				if l, err := tlv.Path(data, 0x6F, 0xA5, 0x50); err == nil {
					c.label = string(l)
				}
				if p, err := tlv.Path(data, 0x6F, 0xA5, 0x87); err == nil && len(p) == 1 {
					c.priority = p[0]
				}
				if sw == apdu.OK {
					list = append(list, c)
				}
				if bytes.Equal(name, aid) {
					end = true
				}
				return []string{fmt.Sprintf("%X %s", c.aid, c.label)}, nil
			})
			if err = r.goOn("SELECT by the terminal's list", err); err != nil {
				return list, err
			}
			if end {
				break
			}
			p2 = 0x02
		}
	}
	return list, nil
}

// finalSelect selects a candidate (Book 1 12.4).
func (r *run) finalSelect(ctx context.Context, c candidate) error {
	err := r.send(ctx, "SELECT "+c.label, selectCommand(c.aid, 0), func(data []byte, sw apdu.SW) ([]string, error) {
		switch sw {
		case apdu.OK:
		case swBlocked:
			return nil, skip{wrong("EMV Book 1 12.4", "the application %X is blocked", c.aid)}
		default:
			return nil, skip{unexpected("EMV Book 1 12.4", "SELECT", sw)}
		}
		fci, err := tlv.Find(data, 0x6F)
		if err != nil {
			return nil, r.unfit(wrong("EMV Book 1 table 10", "the answer has no FCI template 6F"))
		}
		name, err := tlv.Find(fci, 0x84)
		if err != nil || !bytes.HasPrefix(name, c.aid) || len(name) > 16 || len(name) != len(c.aid) && !c.partial {
			return nil, r.unfit(wrong("EMV Book 1 12.4", "the DF name (84) is not what was selected"))
		}
		if _, err := tlv.Find(fci, 0xA5); err != nil {
			return nil, r.unfit(wrong("EMV Book 1 table 10", "the FCI has no proprietary template A5"))
		}
		r.aid = bytes.Clone(name)
		r.data[0x9F06] = r.aid
		return nil, r.keep(fci, nil, "EMV Book 1 table 10")
	})
	if err == nil {
		r.res.AID, r.res.Label = r.aid, string(r.data[0x50])
	}
	return err
}

// unfit is an application whose FCI is wrong: with GoOn the next one may do.
func (r *run) unfit(err error) error {
	if r.GoOn {
		r.res.Wrong = append(r.res.Wrong, err.Error())
		return skip{err}
	}
	return err
}

// options is GET PROCESSING OPTIONS (Book 3 10.1).
func (r *run) options(ctx context.Context) error {
	cmd, err := r.optionsCommand()
	if err != nil {
		return err
	}
	return r.send(ctx, "GET PROCESSING OPTIONS", cmd, func(data []byte, sw apdu.SW) ([]string, error) {
		if sw == apdu.ConditionsNotSatisfied {
			return nil, skip{unexpected("EMV Book 3 10.1", "GET PROCESSING OPTIONS", sw)}
		}
		if sw != apdu.OK {
			return nil, unexpected("EMV Book 3 10.1", "GET PROCESSING OPTIONS", sw)
		}
		if v, err := tlv.Find(data, 0x80); err == nil {
			if len(v) < 2 || (len(v)-2)%4 != 0 {
				return nil, wrong("EMV Book 3 6.5.8.4", "format 1 is AIP and AFL, not %d bytes", len(v))
			}
			r.data[0x82], r.data[0x94] = bytes.Clone(v[:2]), bytes.Clone(v[2:])
		} else if v, err := tlv.Find(data, 0x77); err == nil {
			if err := r.keep(v, nil, "EMV Book 3 6.5.8.4"); err != nil {
				return nil, err
			}
		} else {
			return nil, wrong("EMV Book 3 6.5.8.4", "the answer has neither format 1 nor format 2")
		}
		return r.interchange()
	})
}

func (r *run) optionsCommand() (apdu.Command, error) {
	pdol, err := emv.ParseDOL(r.data[0x9F38])
	if err != nil {
		return apdu.Command{}, wrong("EMV Book 3 5.4", "the PDOL: %v", err)
	}
	r.fromPDO = r.fill(pdol)
	if len(r.fromPDO) > 252 {
		return apdu.Command{}, wrong("EMV Book 3 6.5.8.2", "the PDOL asks for %d bytes; a command has 255 at most", len(r.fromPDO))
	}
	return apdu.Command{CLA: 0x80, INS: 0xA8, Data: tlv.Append(nil, 0x83, r.fromPDO...), Ne: 256}, nil
}

// interchange reads AIP and AFL.
func (r *run) interchange() ([]string, error) {
	if len(r.data[0x82]) != 2 {
		return nil, wrong("EMV Book 3 7.4", "the application interchange profile is missing")
	}
	copy(r.aip[:], r.data[0x82])
	notes := emv.Words(0x82, r.data[0x82])
	return append(notes, emv.Words(0x94, r.data[0x94])...), nil
}

// records reads what the AFL names (Book 3 10.2) and keeps the data to be authenticated
// (10.3).
func (r *run) records(ctx context.Context) error {
	afl := r.data[0x94]
	if len(afl) == 0 || len(afl)%4 != 0 {
		return wrong("EMV Book 3 10.2", "the application file locator has %d bytes", len(afl))
	}
	once := map[emv.Tag]bool{}
	for ; len(afl) > 0; afl = afl[4:] {
		sfi, from, to, signed := afl[0]>>3, afl[1], afl[2], afl[3]
		if afl[0]&7 != 0 || sfi == 0 || sfi > 30 || from == 0 || to < from || int(signed) > int(to)-int(from)+1 {
			return wrong("EMV Book 3 10.2", "the application file locator %X makes no sense", r.data[0x94])
		}
		for n := int(from); n <= int(to); n++ {
			err := r.send(ctx, fmt.Sprintf("READ RECORD %d of file %d", n, sfi), apdu.Command{INS: 0xB2, P1: byte(n), P2: sfi<<3 | 4, Ne: 256}, func(data []byte, sw apdu.SW) ([]string, error) {
				if sw != apdu.OK {
					return nil, unexpected("EMV Book 3 10.2", fmt.Sprintf("record %d of file %d", n, sfi), sw)
				}
				return nil, r.record(sfi, data, n < int(from)+int(signed), once)
			})
			if err != nil {
				return err
			}
		}
	}
	if r.Contactless {
		return nil
	}
	for _, t := range []emv.Tag{0x5F24, 0x5A, 0x8C, 0x8D} { // Book 3 table 28
		if r.data[t] == nil {
			return wrong("EMV Book 3 7.2", "%s (%X) is missing", emv.Name(t), uint32(t))
		}
	}
	r.res.PAN = emv.MaskPAN(r.pan())
	return nil
}

// record keeps one record. What is signed of files 1 to 10 is what the template holds,
// of others all of the record (Book 3 10.3).
func (r *run) record(sfi byte, data []byte, signed bool, once map[emv.Tag]bool) error {
	v, err := tlv.Find(data, 0x70)
	if sfi > 10 {
		if signed && err != nil && r.foreign == nil {
			r.foreign = wrong("EMV Book 3 10.3", "a signed record of file %d has no template 70", sfi)
		}
		if signed {
			r.static = append(r.static, data...)
		}
		return nil // proprietary
	}
	if err != nil {
		return wrong("EMV Book 3 6.5.11.4", "the record has no template 70")
	}
	if signed {
		r.static = append(r.static, v...)
	}
	return r.keep(v, once, "EMV Book 3 6.5.11.4")
}

// history is what a card tells beside its records: counters, and its log (Book 3 7.3,
// annex D).
func (r *run) history(ctx context.Context) error {
	for _, t := range []emv.Tag{0x9F36, 0x9F13, 0x9F17, 0x9F4F} {
		err := r.send(ctx, "GET DATA: "+emv.Name(t), apdu.Command{CLA: 0x80, INS: 0xCA, P1: byte(t >> 8), P2: byte(t), Ne: 256}, func(data []byte, sw apdu.SW) ([]string, error) {
			if sw != apdu.OK {
				return []string{"the card does not tell"}, nil
			}
			if v, err := tlv.Find(data, t); err == nil {
				r.data[t] = bytes.Clone(v)
			}
			return nil, nil
		})
		if err != nil {
			return err
		}
	}
	entry, format := r.data[0x9F4D], r.data[0x9F4F]
	dol, err := emv.ParseDOL(format)
	if len(entry) != 2 || len(dol) == 0 || err != nil {
		return nil
	}
	end := false
	for n := byte(1); n <= entry[1] && n != 0 && !end; n++ {
		err := r.send(ctx, fmt.Sprintf("READ RECORD %d of the log", n), apdu.Command{INS: 0xB2, P1: n, P2: entry[0]<<3 | 4, Ne: 256}, func(data []byte, sw apdu.SW) (notes []string, err error) {
			if end = sw != apdu.OK; end {
				return []string{"that was all"}, nil
			}
			for _, e := range dol {
				if v := emv.Find(dol, data, e.Tag); v != nil {
					note := emv.Name(e.Tag) + ": " + emv.Shown(e.Tag, v)
					if w := emv.Words(e.Tag, v); len(w) == 1 {
						note += " (" + w[0] + ")"
					}
					notes = append(notes, note)
				}
			}
			return notes, nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}
