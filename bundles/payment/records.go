package payment

import (
	"github.com/sspemu/sspemu/bundles/payment/emv"
	"github.com/sspemu/sspemu/bundles/payment/profile"
	"github.com/sspemu/sspemu/bundles/sdk"
	"github.com/sspemu/sspemu/internal/apdu"
	"github.com/sspemu/sspemu/internal/tlv"
)

// readRecord is READ RECORD (Book 3 6.5.11): P1 the number, P2 the file and 4.
func (c *Card) readRecord(cmd *sdk.Command, r *sdk.Response) sdk.SW {
	t := &c.now
	sfi := cmd.P2 >> 3
	switch {
	case cmd.P2&7 != 4 || sfi == 0 || sfi == 31 || cmd.P1 == 0:
		return apdu.WrongP1P2
	case len(cmd.Data) > 0:
		return apdu.WrongLength
	case t.state == directory:
		if t.dir != profile.Contact || sfi != sfiDirectory {
			return apdu.FileNotFound
		}
		rec := c.directoryRecord(int(cmd.P1))
		if rec == nil {
			return apdu.RecordNotFound
		}
		r.Append(rec)
		return apdu.OK
	}
	a := t.app
	if a.Log != nil && sfi == a.Log.SFI {
		return a.readLog(int(cmd.P1), r)
	}
	if rec, ok := sdk.NVM.Get(a.key(recordKey(t.side, sfi, cmd.P1))); ok {
		r.Append(rec)
		return apdu.OK
	}
	for i := range a.Records {
		if a.Records[i].SFI == sfi && a.Records[i].On&t.side != 0 {
			return apdu.RecordNotFound
		}
	}
	return apdu.FileNotFound
}

// getData is GET DATA (Book 3 6.5.7): the elements that the persona lists.
func (c *Card) getData(cmd *sdk.Command, r *sdk.Response) sdk.SW {
	if len(cmd.Data) > 0 {
		return apdu.WrongLength
	}
	a := c.now.app
	tag := tlv.Tag(cmd.P1)<<8 | tlv.Tag(cmd.P2)
	for _, g := range a.GetData {
		if g != tag {
			continue
		}
		if v := a.element(tag); v != nil {
			r.TLV(uint32(tag), v)
			return apdu.OK
		}
	}
	return apdu.ReferencedDataNotFound
}

// element is the value of a data element that GET DATA may give, nil: there is none.
func (a *application) element(t tlv.Tag) []byte {
	switch t {
	case tagATC:
		return []byte{byte(a.state.atc >> 8), byte(a.state.atc)}
	case tagLastOnline:
		return []byte{byte(a.state.lastOnline >> 8), byte(a.state.lastOnline)}
	case tagPINTries:
		return []byte{a.state.tries}
	case tagLogFormat:
		if a.Log != nil {
			return a.Log.Format
		}
		return nil
	}
	if v, ok := sdk.NVM.Get(a.key(dataKey(t))); ok {
		return v
	}
	for _, e := range a.Data {
		if e.Tag == t {
			return e.Value
		}
	}
	return nil
}

// logSize is the length of a record of the log.
func (a *application) logSize() int {
	format, _ := emv.ParseDOL(a.Log.Format)
	return emv.Length(format)
}

// readLog is record n of the transaction log, 1 the newest (Book 3 annex D4). It has
// no template.
func (a *application) readLog(n int, r *sdk.Response) sdk.SW {
	if n > int(a.Log.Records) {
		return apdu.RecordNotFound
	}
	size := a.logSize()
	key := a.key("log")
	if have, _ := sdk.NVM.Size(key); n*size > have {
		return apdu.RecordNotFound
	}
	_, _ = sdk.NVM.Read(key, (n-1)*size, r.Extend(size))
	return apdu.OK
}

// log adds the transaction that ended with cid to the log.
func (c *Card) log(cid byte) error {
	a := c.now.app
	if a.Log == nil {
		return nil
	}
	format, _ := emv.ParseDOL(a.Log.Format)
	rec := emv.Fill(format, func(t tlv.Tag) []byte {
		switch t {
		case tagCID:
			return []byte{cid}
		case tagATC:
			return a.element(tagATC)
		}
		return c.terminal(t)
	})
	old, _ := sdk.NVM.Get(a.key("log"))
	return sdk.NVM.Put(a.key("log"), append(rec, old[:min(len(old), (int(a.Log.Records)-1)*len(rec))]...))
}

// terminal is the value of a data element that the terminal sent in this transaction,
// the latest one; nil: it sent none.
func (c *Card) terminal(t tlv.Tag) []byte {
	now := &c.now
	for _, l := range []struct{ dol, data []byte }{
		{now.app.CDOL2, now.second}, {now.app.CDOL1, now.first}, {now.here().PDOL, now.options},
	} {
		if len(l.data) == 0 {
			continue
		}
		entries, err := emv.ParseDOL(l.dol)
		if err != nil {
			continue
		}
		if v := emv.Find(entries, l.data, t); v != nil {
			return v
		}
	}
	return nil
}

// number reads n as decimal digits, two a byte: amounts.
func number(b []byte) (v uint64) {
	for _, c := range b {
		v = v*100 + uint64(c>>4)*10 + uint64(c&15)
	}
	return v
}
