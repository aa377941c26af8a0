package payment

import (
	"strconv"

	"github.com/sspemu/sspemu/bundles/payment/emv"
	"github.com/sspemu/sspemu/bundles/payment/profile"
	"github.com/sspemu/sspemu/bundles/sdk"
	"github.com/sspemu/sspemu/bundles/sdk/coap"
	"github.com/sspemu/sspemu/bundles/sdk/face"
	"github.com/sspemu/sspemu/bundles/sdk/web"
)

// Gates are the services beside UICC APDU: the description of the card, over HTTP at
// the TCP gate and over CoAP at the UDP gate.
func (c *Card) Gates() sdk.Gates {
	things := coap.New()
	things.Face(c.describe)
	return sdk.Gates{TCP: web.New(web.Face(c.describe)), UDP: things}
}

// describe tells what everybody may know: applications, counters, the log. PANs are
// masked; keys, PINs and certificates have no way into a face.Description.
func (c *Card) describe() face.Description {
	d := face.Description{
		Name:      "payment",
		Title:     "EMV payment card",
		Standards: []string{"EMV 4.4 Book 1", "EMV 4.4 Book 2", "EMV 4.4 Book 3", "EMV Contactless Book B", "EMV Contactless Book C-2", "EMV Contactless Book C-3"},
	}
	add := func(name, value string) { d.Persona = append(d.Persona, face.Field{Name: name, Value: value}) }
	if c.blocked {
		add("card", "blocked")
	}
	for i := range c.apps {
		a := &c.apps[i]
		d.Applications = append(d.Applications, face.Application{AID: a.AID, Label: a.Label})
		status := "active"
		if a.state.has(isBlocked) {
			status = "blocked"
		}
		add(a.Name, profile.Masked(a.PAN)+", "+status)
		if a.PINTries > 0 {
			d.PINs = append(d.PINs, face.PIN{
				Name: a.Name, Enabled: true, Verified: c.now.app == a && c.now.verify == passed,
				Left: int(a.state.tries), Most: int(a.PINTries),
			})
		}
		d.Counters = append(d.Counters,
			face.Counter{Name: a.Name + " ATC", Value: int64(a.state.atc)},
			face.Counter{Name: a.Name + " last online ATC", Value: int64(a.state.lastOnline)},
			face.Counter{Name: a.Name + " offline in a row", Value: int64(a.state.consecutive)},
			face.Counter{Name: a.Name + " offline amount", Value: int64(min(a.state.cumulative, 1<<62))})
		for n, line := range a.logLines() {
			add(a.Name+" log "+strconv.Itoa(n+1), line)
		}
	}
	return d
}

// logLines are the records of the log, the newest first, as far as its format has
// something that is shown.
func (a *application) logLines() (lines []string) {
	if a.Log == nil {
		return nil
	}
	format, _ := emv.ParseDOL(a.Log.Format)
	size := emv.Length(format)
	all, _ := sdk.NVM.Get(a.key("log"))
	for ; size > 0 && len(all) >= size; all = all[size:] {
		line := ""
		rec := all[:size]
		if v := emv.Find(format, rec, tagDate); len(v) == 3 {
			line = "20" + bcdText(v[:1]) + "-" + bcdText(v[1:2]) + "-" + bcdText(v[2:]) + " "
		}
		if v := emv.Find(format, rec, tagAmount); len(v) == 6 {
			n := strconv.FormatUint(number(v)+100, 10) // so that there are three digits
			n = strconv.FormatUint(number(v)/100, 10) + "." + n[len(n)-2:]
			line += n + " "
		}
		if v := emv.Find(format, rec, tagCurrency); len(v) == 2 {
			line += bcdText(v)[1:] + " "
		}
		if v := emv.Find(format, rec, tagCID); len(v) == 1 {
			line += cidName(v[0]) + " "
		}
		if v := emv.Find(format, rec, tagATC); len(v) == 2 {
			line += "ATC " + strconv.Itoa(int(v[0])<<8|int(v[1])) + " "
		}
		if line != "" {
			line = line[:len(line)-1]
		}
		lines = append(lines, line)
	}
	return lines
}

func cidName(cid byte) string {
	switch cid & cidType {
	case cidTC:
		return "TC"
	case cidARQC:
		return "ARQC"
	}
	return "AAC"
}

func bcdText(b []byte) string { return profile.Hex(b) }
