package sdk

import "bytes"

// Applet is one application of a bundle that [Applets] selects by its AID.
type Applet interface {
	// Select tells that c selected the applet on channel ch; what it adds to r
	// is the answer (FCI or FCP, as P2 asks). A status word that is an error
	// (64xx and above, but not 9xxx) leaves the selection as it was.
	Select(ch int, c *Command, r *Response) SW
	// APDU answers a command for the applet on channel ch, on which it is
	// selected. It checks the class itself: 6E00 for one it does not know, 6D00
	// for an unknown instruction.
	APDU(ch int, c *Command, r *Response) SW
}

// Deselecter is what an Applet may be as well: Deselect tells that channel ch no
// longer belongs to it (another selection, the channel closed, a reset).
type Deselecter interface{ Deselect(ch int) }

// Channels is how many logical channels there are: the basic channel 0 and 1 to
// 19 (ISO/IEC 7816-4 5.4.1).
const Channels = 20

// Status words of Applets that have a condition of their own.
const (
	// swNothingSelected answers a command on a channel where no applet is
	// selected yet. unverified: ISO/IEC 7816-4 leaves it open.
	swNothingSelected = ConditionsNotSatisfied
)

// Applets shares the APDUs of a bundle among its applets. It serves SELECT by
// DF name and MANAGE CHANNEL and hands everything else to the applet that is
// selected on the channel of the class byte. The zero value is ready; it is the
// bundle's volatile state: call Reset on SignalReset.
//
//	SELECT by DF name   exact AID or its beginning; first, last, next, previous
//	                    occurrence in the order of Register; no data: the first
//	MANAGE CHANNEL      open (number by the card or by P2), close
//	unknown AID 6A82    closed channel 6881    class FF or reserved 6E00
//
// Sources: ISO/IEC 7816-4 11.2.2 (SELECT), 11.1.2 (MANAGE CHANNEL), ETSI TS 102
// 221 11.1.1, 11.1.17.
type Applets struct {
	list []entry
	ch   [Channels]channel

	quiet   Command // the SELECT that inherit shows to an applet: no data wanted
	unheard Response
}

type entry struct {
	aid    []byte
	applet Applet
}

type channel struct {
	open bool // of the channels 1 to 19
	sel  int  // 1 + index in list, 0: nothing selected
}

// Register adds an applet under an AID of 5 to 16 bytes (ISO/IEC 7816-4
// 12.2.3). It panics on another length: that is an error of the program.
func (a *Applets) Register(aid []byte, p Applet) {
	if len(aid) < 5 || len(aid) > 16 {
		panic("sdk: an AID has 5 to 16 bytes")
	}
	a.list = append(a.list, entry{aid, p})
}

// Reset closes all channels and drops every selection.
func (a *Applets) Reset() {
	for ch := range a.ch {
		a.sel(ch, 0)
		a.ch[ch].open = false
	}
}

// Selected is the applet of channel ch, nil when none is selected.
func (a *Applets) Selected(ch int) Applet {
	if s := a.ch[ch].sel; s > 0 {
		return a.list[s-1].applet
	}
	return nil
}

// IsOpen tells whether a channel is open; the basic channel always is.
func (a *Applets) IsOpen(ch int) bool { return ch == 0 || ch > 0 && ch < Channels && a.ch[ch].open }

// APDU serves one command. It does not allocate.
func (a *Applets) APDU(c *Command, r *Response) SW {
	if c.CLA == 0xFF || c.CLA&0xE0 == 0x20 {
		return ClaNotSupported
	}
	ch := Channel(c.CLA)
	if ch >= Channels || ch > 0 && !a.ch[ch].open {
		return ChannelNotSupported
	}
	if c.CLA&0x80 == 0 {
		switch {
		case c.INS == 0x70:
			return a.manageChannel(ch, c, r)
		case c.INS == 0xA4 && c.P1 == 0x04:
			return a.selectAID(ch, c, r)
		}
	}
	if p := a.Selected(ch); p != nil {
		return p.APDU(ch, c, r)
	}
	if c.CLA&0x80 == 0 && c.INS == 0xA4 {
		return FileNotFound
	}
	return swNothingSelected
}

// sel makes s the selection of ch and tells the applet that was there.
func (a *Applets) sel(ch, s int) {
	if d, ok := a.Selected(ch).(Deselecter); ok && a.ch[ch].sel != s {
		d.Deselect(ch)
	}
	a.ch[ch].sel = s
}

// selectAID is SELECT by DF name; bits 1 and 2 of P2 choose the occurrence
// (ISO/IEC 7816-4 table 64).
func (a *Applets) selectAID(ch int, c *Command, r *Response) SW {
	if c.P2&0xF0 != 0 {
		return WrongP1P2
	}
	if len(c.Data) > 16 {
		return WrongLength
	}
	n, cur := len(a.list), a.ch[ch].sel-1
	if cur >= 0 && !bytes.HasPrefix(a.list[cur].aid, c.Data) {
		cur = -1
	}
	i, step := 0, 1
	switch c.P2 & 3 {
	case 1: // last
		i, step = n-1, -1
	case 2: // next; without a current one the first
		i = cur + 1
	case 3: // previous; without a current one the last
		i, step = n-1, -1
		if cur >= 0 {
			i = cur - 1
		}
	}
	for ; i >= 0 && i < n; i += step {
		if !bytes.HasPrefix(a.list[i].aid, c.Data) {
			continue
		}
		sw := a.list[i].applet.Select(ch, c, r)
		if !refused(sw) {
			a.sel(ch, i+1)
		}
		return sw
	}
	return FileNotFound
}

// manageChannel is MANAGE CHANNEL. A channel that is opened from another than
// the basic one has the same applet selected as that.
func (a *Applets) manageChannel(from int, c *Command, r *Response) SW {
	if len(c.Data) > 0 {
		return WrongLength
	}
	n := int(c.P2)
	switch c.P1 {
	case 0x00: // open
		if n >= Channels || n > 0 && a.ch[n].open {
			return WrongP1P2
		}
		if n == 0 {
			for n = 1; n < Channels && a.ch[n].open; n++ {
			}
			if n == Channels {
				return FunctionNotSupported
			}
			r.Byte(byte(n))
		}
		a.ch[n] = channel{open: true}
		if s := a.ch[from].sel; from > 0 && s > 0 {
			if sw := a.inherit(n, s); sw != OK {
				a.ch[n].open = false
				r.Reset()
				return sw
			}
		}
		return OK
	case 0x80: // close; P2 00: the channel of the class byte
		if n == 0 {
			n = from
		}
		if n == 0 || n >= Channels {
			return WrongP1P2
		}
		if !a.ch[n].open {
			return ChannelNotSupported // an error: some clients close until one fails
		}
		a.sel(n, 0)
		a.ch[n].open = false
		return OK
	}
	return WrongP1P2
}

// inherit selects applet s on the new channel n without an answer.
func (a *Applets) inherit(n, s int) SW {
	a.quiet, a.unheard = Command{INS: 0xA4, P1: 0x04, P2: 0x0C}, Response{}
	sw := a.list[s-1].applet.Select(n, &a.quiet, &a.unheard)
	if refused(sw) {
		return sw
	}
	a.ch[n].sel = s
	return OK
}

// refused tells whether sw is an error: not 9xxx, 61xx, 62xx or 63xx.
func refused(sw SW) bool { return sw >= 0x6400 && sw < OK }
