package iot

import (
	"errors"
	"slices"

	"github.com/sspemu/sspemu/bundles/iot/iotsafe"
	"github.com/sspemu/sspemu/bundles/iot/profile"
	"github.com/sspemu/sspemu/bundles/sdk"
	"github.com/sspemu/sspemu/internal/apdu"
	"github.com/sspemu/sspemu/internal/scp80"
	"github.com/sspemu/sspemu/internal/tlv"
)

// remoteRun carries out a command of a domain's administrator.
type remoteRun func(c *Card, d *domain, cmd *sdk.Command, r *sdk.Response, by bearer) sdk.SW

// remotely are the commands of scripts. unverified: what remote administration of IoT.05
// sends is not public; these are the instructions of the applet, and STORE DATA and DELETE
// of GlobalPlatform Card Specification 11.11 and 11.2 (iotsafe has their data).
var remotely = map[byte]remoteRun{
	iotsafe.GetData:         (*Card).remoteGetData,
	iotsafe.ReadFile:        (*Card).remoteReadFile,
	iotsafe.ReadPublicKey:   (*Card).remoteReadPublicKey,
	iotsafe.GenerateKeyPair: (*Card).remoteGenerate,
	iotsafe.StoreData:       (*Card).storeData,
	iotsafe.Delete:          (*Card).remove,
}

const insGetResponse = 0xC0

// scratch is room for the answer of one command.
const scratch = 2048

// work is a script under way.
type work struct {
	by      bearer
	d       *domain
	r       *sdk.Response
	changed []*object
	failed  bool // the memory is full: nothing of the script stays
}

// script runs a script of TS 102 226 5 for a domain, and gives its result in the form of
// the script, not longer than the bearer takes. ok is false when the memory is full: then
// everything that was written since the last commit is taken back, and c is as before.
//
// The script ends with the first command that fails. Its effects, together with whatever
// the caller wrote before, are one transaction.
func (c *Card) script(d *domain, commands []byte, by bearer) (result []byte, ok bool) {
	saved, held, list := slices.Clone(c.objects), d.held, d.list
	c.work = work{by: by, d: d, r: sdk.NewResponse(scratch)}
	form := scp80.FormOf(commands)
	var res scp80.Result
	if form == scp80.Compact {
		res = c.compact(commands)
	} else {
		res = c.expanded(commands, form)
	}
	w := c.work
	c.work = work{}
	if w.failed {
		copy(c.objects, saved)
		d.held, d.list = held, list
		return nil, false
	}
	c.administered(w.changed)
	return res.Append(nil, form), true
}

// done tells whether a script ends with a status word: with any that is an error.
func done(sw sdk.SW) bool {
	hi := sw >> 8
	return sw != sdk.OK && hi != 0x61 && hi != 0x62 && hi != 0x63 && hi != 0x91 || sw == scp80.SWTruncated
}

// expanded runs AA or AE: every command has its response.
func (c *Card) expanded(commands []byte, form scp80.Form) (res scp80.Result) {
	for w := scp80.Expanded(commands); ; {
		b := w.Next()
		if b == nil {
			res.Bad = w.Bad
			return res
		}
		sw := c.one(b)
		if c.work.failed {
			return res
		}
		res.Executed++
		r := append([]byte(nil), c.work.r.Bytes()...)
		next := append(res.Responses, sw.Append(r))
		if over := len((&scp80.Result{Executed: res.Executed, Responses: next}).Append(nil, form)) - c.work.by.most; over > 0 {
			if n := len(res.Responses); over > len(r) { // not even a status word: the one before says it
				if n > 0 {
					last := res.Responses[n-1]
					scp80.SWTruncated.Append(last[:len(last)-2])
				}
				return res
			}
			sw = scp80.SWTruncated
			next = append(res.Responses, sw.Append(r[:len(r)-over]))
		}
		if res.Responses = next; done(sw) || res.Executed == 255 {
			return res
		}
	}
}

// compact runs commands that follow each other. Data that a command with data gives wait
// for GET RESPONSE, which is not counted: so did the card of a recorded session
// (internal/scp80 testdata, A-CRC32-1535). Only the last answer is told.
func (c *Card) compact(commands []byte) (res scp80.Result) {
	var held []byte
	set := func(data []byte, sw sdk.SW) sdk.SW {
		if over := len(data) + 3 - c.work.by.most; over > 0 {
			data, sw = data[:max(0, len(data)-over)], scp80.SWTruncated
		}
		res.Responses = [][]byte{sw.Append(append([]byte(nil), data...))}
		return sw
	}
	for len(commands) > 0 && res.Executed < 255 {
		if len(commands) < 5 {
			res.Executed++
			set(nil, sdk.WrongLength)
			return res
		}
		ins, p3 := commands[1], int(commands[4])
		if ins == insGetResponse {
			commands = commands[5:]
			if held == nil {
				res.Executed++
				set(nil, sdk.ConditionsNotSatisfied)
				return res
			}
			if p3 > 0 {
				held = held[:min(p3, len(held))]
			}
			if done(set(held, sdk.OK)) {
				return res
			}
			held = nil
			continue
		}
		// P3 is Le where a command has no data: GET DATA of the applet or of the list.
		lc := p3
		asks := ins == iotsafe.GetData && commands[2] <= iotsafe.DataObjectList
		if asks {
			lc = 0
		}
		res.Executed++
		if len(commands) < 5+lc {
			set(nil, sdk.WrongLength)
			return res
		}
		b := append([]byte(nil), commands[:4]...)
		switch {
		case asks:
			b = append(b, byte(p3))
		case lc > 0:
			b = append(append(b, commands[4:5+lc]...), 0)
		}
		commands = commands[5+lc:]
		sw := c.one(b)
		if c.work.failed {
			return res
		}
		held = append([]byte(nil), c.work.r.Bytes()...)
		switch {
		case len(held) == 0:
			sw = set(nil, sw)
		case sw == sdk.OK && !asks:
			sw = set(nil, sdk.MoreData|sdk.SW(byte(len(held))))
		default:
			sw = set(held, sw)
		}
		if done(sw) {
			return res
		}
	}
	return res
}

// one runs one command; its data are in the response of the work.
func (c *Card) one(b []byte) sdk.SW {
	c.work.r.Reset()
	cmd, err := apdu.Parse(b)
	if err != nil {
		return sdk.WrongLength
	}
	if cmd.CLA != 0x80 && cmd.CLA != 0x00 {
		return sdk.ClaNotSupported
	}
	f := remotely[cmd.INS]
	if f == nil {
		return sdk.InsNotSupported
	}
	sw := f(c, c.work.d, &cmd, c.work.r, c.work.by)
	if sw != sdk.OK && sw != iotsafe.SWMoreData {
		c.work.r.Reset()
	}
	return sw
}

// full is the answer to an error of NVM: everything is taken back.
func (c *Card) full(err error) sdk.SW {
	c.work.failed = true
	return memory(err)
}

// target is the object of a domain that data name, by identifier or label, and what else
// of the allowed tags is there.
func (c *Card) target(d *domain, data []byte, allowed ...tlv.Tag) (*object, fields, sdk.SW) {
	var tags []tlv.Tag
	for k := profile.Private; k <= profile.File; k++ {
		tags = append(tags, tlv.Tag(k.IDTag()), tlv.Tag(k.LabelTag()))
	}
	f, sw := parse(data, append(tags, allowed...)...)
	if sw != sdk.OK {
		return nil, nil, sw
	}
	var o *object
	for k := profile.Private; k <= profile.File; k++ {
		if !f.has(tlv.Tag(k.IDTag())) && !f.has(tlv.Tag(k.LabelTag())) {
			continue
		}
		if o != nil {
			return nil, nil, sdk.WrongData
		}
		if o, sw = c.find(f, k); sw != sdk.OK {
			return nil, nil, sw
		}
	}
	switch {
	case o == nil:
		return nil, nil, sdk.WrongData
	case !c.holds(d, o):
		return nil, nil, sdk.FileNotFound // it is not there for this domain
	}
	return o, f, sdk.OK
}

// targetOf is target for a command that takes one kind and nothing else.
func (c *Card) targetOf(d *domain, data []byte, k profile.Kind) (*object, sdk.SW) {
	o, _, sw := c.target(d, data)
	if sw == sdk.OK && o.Kind != k {
		return nil, sdk.WrongData
	}
	return o, sw
}

// remoteGetData is GET DATA: the objects of the domain, or one of them.
func (c *Card) remoteGetData(d *domain, cmd *sdk.Command, r *sdk.Response, by bearer) sdk.SW {
	next := d.list
	d.list = 0
	if cmd.P1 == iotsafe.DataObjectList {
		switch {
		case len(cmd.Data) > 0:
			return sdk.WrongLength
		case cmd.P2 == iotsafe.DataFirst:
			next = 0
		case cmd.P2 != iotsafe.DataNext:
			return sdk.WrongP1P2
		case next == 0:
			return sdk.ConditionsNotSatisfied
		}
		const wrapping = 16 // of the response in a script
		most := min(part, by.most-wrapping)
		begin := next
		for ; next < len(d.Containers); next++ {
			before := r.Len()
			c.objects[d.Containers[next]].describe(r)
			if r.Len() > most && next > begin {
				r.Set(r.Bytes()[:before])
				d.list = next
				return iotsafe.SWMoreData
			}
		}
		return sdk.OK
	}
	for k := profile.Private; k <= profile.File; k++ {
		if cmd.P1 != k.InfoTag() {
			continue
		}
		if cmd.P2 != iotsafe.DataFirst {
			return sdk.WrongP1P2
		}
		o, sw := c.targetOf(d, cmd.Data, k)
		if sw == sdk.OK {
			o.describe(r)
		}
		return sw
	}
	return sdk.WrongP1P2
}

// remoteReadFile is READ FILE, whatever the access condition for devices.
func (c *Card) remoteReadFile(d *domain, cmd *sdk.Command, r *sdk.Response, _ bearer) sdk.SW {
	o, sw := c.targetOf(d, cmd.Data, profile.File)
	if sw != sdk.OK {
		return sw
	}
	if sw := o.may(); sw != sdk.OK {
		return sw
	}
	return o.read(cmd, r)
}

// remoteReadPublicKey is READ PUBLIC KEY.
func (c *Card) remoteReadPublicKey(d *domain, cmd *sdk.Command, r *sdk.Response, _ bearer) sdk.SW {
	if cmd.P1 != 0 || cmd.P2 != 0 {
		return sdk.WrongP1P2
	}
	o, sw := c.targetOf(d, cmd.Data, profile.Public)
	if sw != sdk.OK {
		return sw
	}
	b, sw := o.bytes()
	if sw == sdk.OK {
		r.TLV(iotsafe.TagPublicKey, b)
	}
	return sw
}

// remoteGenerate is GENERATE KEY PAIR, whatever the access condition for devices.
func (c *Card) remoteGenerate(d *domain, cmd *sdk.Command, r *sdk.Response, _ bearer) sdk.SW {
	if cmd.P1 != 0 || cmd.P2 != 0 {
		return sdk.WrongP1P2
	}
	o, sw := c.targetOf(d, cmd.Data, profile.Private)
	if sw != sdk.OK {
		return sw
	}
	if o.Functions&iotsafe.FuncGeneration == 0 {
		return sdk.CommandIncompatible
	}
	if sw = c.generate(o, r); sw == sdk.NotEnoughMemory || sw == sdk.NoPreciseDiagnosis {
		c.work.failed = true
	}
	if sw == sdk.OK {
		c.work.changed = append(c.work.changed, o, &c.objects[o.Pair])
	}
	return sw
}

// storeData is STORE DATA: new content of a file, a public key that is a trust anchor or a
// peer's, or a secret key. The data are a reference and content, in blocks: P2 is the
// number of the block, from 0, P1 80 marks the last one. Nothing changes before.
func (c *Card) storeData(d *domain, cmd *sdk.Command, _ *sdk.Response, by bearer) sdk.SW {
	last := cmd.P1 == iotsafe.LastBlock
	if cmd.P1 != iotsafe.MoreBlocks && !last {
		return sdk.WrongP1P2
	}
	if len(cmd.Data) == 0 {
		return sdk.WrongLength
	}
	h := &d.held
	if cmd.P2 == 0 {
		*h = staged{open: true}
	}
	if !h.open || cmd.P2 != h.next {
		*h = staged{}
		return sdk.ConditionsNotSatisfied
	}
	if len(h.data)+len(cmd.Data) > maxStaged {
		*h = staged{}
		return sdk.NotEnoughMemory
	}
	if h.next == 0 { // what it is for stands in the first block
		o, sw := c.begins(d, cmd.Data)
		if sw != sdk.OK {
			*h = staged{}
			return sw
		}
		h.o = o
	}
	h.data = append(h.data[:len(h.data):len(h.data)], cmd.Data...)
	h.next++
	if !last {
		return sdk.OK
	}
	data := h.data
	*h = staged{}
	o, f, sw := c.target(d, data, iotsafe.TagPublicKey, iotsafe.TagContent)
	if sw != sdk.OK {
		return sw
	}
	return c.replace(o, f, by)
}

// begins reads the reference that new content begins with.
func (c *Card) begins(d *domain, data []byte) (*object, sdk.SW) {
	_, _, rest, err := tlv.Next(data)
	if err != nil {
		return nil, sdk.WrongData
	}
	o, _, sw := c.target(d, data[:len(data)-len(rest)])
	return o, sw
}

// replace gives an object new content.
func (c *Card) replace(o *object, f fields, by bearer) sdk.SW {
	key, hasKey := f[iotsafe.TagPublicKey]
	content, hasContent := f[iotsafe.TagContent]
	if hasKey == hasContent || hasKey != (o.Kind == profile.Public) {
		return sdk.WrongData
	}
	switch o.Kind {
	case profile.Private:
		return sdk.CommandIncompatible // it is generated, and nowhere else
	case profile.Public:
		if c.half(o) {
			return sdk.ConditionsNotSatisfied
		}
		k, err := profile.ParsePublic(o.Type, key)
		if err != nil {
			return sdk.WrongData
		}
		key = append([]byte(nil), key...)
		if err := o.put(key); err != nil {
			return c.full(err)
		}
		o.keepPublic(key, k)
	case profile.Secret:
		if !by.secret {
			return apdu.SecurityNotSatisfied
		}
		if len(content) == 0 || len(content) > 64 {
			return sdk.WrongData
		}
		content = append([]byte(nil), content...)
		if err := o.put(content); err != nil {
			return c.full(err)
		}
		o.keepPublic(content, nil)
	default:
		if len(content) == 0 {
			return sdk.WrongData
		}
		if err := o.put(content); err != nil {
			return c.full(err)
		}
		o.filled, o.broken, o.size = true, o.Damaged, len(content)
	}
	c.work.changed = append(c.work.changed, o)
	return sdk.OK
}

// half tells whether a public key is that of a private key of the card.
func (c *Card) half(o *object) bool {
	for i := range c.objects {
		if p := &c.objects[i]; p.Kind == profile.Private && &c.objects[p.Pair] == o {
			return true
		}
	}
	return false
}

// remove is DELETE: the content of a container; of a private key that of both.
func (c *Card) remove(d *domain, cmd *sdk.Command, _ *sdk.Response, _ bearer) sdk.SW {
	if cmd.P1 != 0 || cmd.P2 != 0 {
		return sdk.WrongP1P2
	}
	o, _, sw := c.target(d, cmd.Data)
	switch {
	case sw != sdk.OK:
		return sw
	case !o.filled, o.Kind == profile.Public && c.half(o):
		return sdk.ConditionsNotSatisfied
	}
	gone := []*object{o}
	if o.Kind == profile.Private {
		gone = append(gone, &c.objects[o.Pair])
	}
	for _, x := range gone {
		if !x.filled {
			continue
		}
		if !x.volatile() {
			if err := sdk.NVM.Delete(x.name); err != nil && !errors.Is(err, sdk.ErrUnknownID) {
				return c.full(err)
			}
		}
		x.drop()
	}
	c.work.changed = append(c.work.changed, gone...)
	return sdk.OK
}
