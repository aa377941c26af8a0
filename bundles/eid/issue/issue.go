package issue

import (
	"github.com/sspemu/sspemu/bundles/eid/lds"
	"github.com/sspemu/sspemu/bundles/eid/pki"
	"github.com/sspemu/sspemu/bundles/sdk"
	"github.com/sspemu/sspemu/internal/ec"
)

// unicodeVersion is what EF.COM and EF.SOD tell; that of Doc 9303-10's examples.
const unicodeVersion = "040000"

// New makes the chip of a persona, the whole document with seed and mrtd. It runs in the
// guest.
func New(doc *sdk.Doc) (*Chip, error) { return NewWith(doc, Platform) }

// NewWith is New with RSA by somebody else.
func NewWith(doc *sdk.Doc, power Power) (*Chip, error) {
	p, err := read(doc)
	if err != nil {
		return nil, err
	}
	return p.chip(power)
}

// chip makes everything that is on the chip.
func (p *profile) chip(power Power) (*Chip, error) {
	c := &Chip{
		Passwords: Passwords{MRZ: p.mrz.Information(), CAN: p.can, PIN: p.pin, PINTries: p.tries},
		BAC:       p.bac, PACE: p.pace, CA: p.ca, Defects: p.defects,
	}
	keys, err := p.keys(power)
	if err != nil {
		return nil, p.doc.Refuse(err.Error())
	}
	groups, err := p.groups()
	if err != nil {
		return nil, err
	}
	infos, err := p.infos()
	if err != nil {
		return nil, p.doc.Refuse(err.Error())
	}
	if len(infos.all) > 0 {
		groups = append(groups, group{14, lds.DG14(lds.BuildSecurityInfos(infos.all...))})
	}
	if p.aa != nil {
		key, public, err := p.activeKey(power)
		if err != nil {
			return nil, p.doc.Get("active_authentication").Refuse(err.Error())
		}
		c.AA = key
		groups = append(groups, group{15, lds.DG15(public)})
	}
	sortGroups(groups)
	if err := p.clone(c, power); err != nil {
		return nil, p.doc.Refuse(err.Error())
	}

	sod, err := p.sod(keys, groups)
	if err != nil {
		return nil, p.doc.Refuse(err.Error())
	}
	mf := func(fid uint16, sfi byte, a Access, data []byte) {
		c.Files = append(c.Files, File{DF: MF, FID: fid, SFI: sfi, Access: a, Data: data})
	}
	mf(lds.FIDATRInfo, lds.SFIATRInfo, Always, (&lds.ATRInfo{Capabilities: lds.Capabilities, Command: 65535, Response: 65536}).Build())
	mf(lds.FIDDIR, lds.SFIDIR, Always, lds.DIR(lds.AID))
	if len(p.pace) > 0 {
		mf(lds.FIDCardAccess, lds.SFICardAccess, Always, lds.BuildSecurityInfos(infos.access...))
	}
	if infos.cam {
		signed, err := keys.sign(lds.OIDCardSecurity, lds.BuildSecurityInfos(infos.card...))
		if err != nil {
			return nil, p.doc.Refuse(err.Error())
		}
		mf(lds.FIDCardSecurity, lds.SFICardSecurity, AfterPACE, signed)
	}
	app := func(fid uint16, sfi byte, a Access, right byte, data []byte) {
		c.Files = append(c.Files, File{DF: LDS1, FID: fid, SFI: sfi, Access: a, Right: right, Data: data})
	}
	app(lds.FIDCOM, lds.SFICOM, AfterAccess, 0, (&lds.COM{LDS: p.lds, Unicode: unicodeVersion, Groups: p.listed(groups)}).Build())
	app(lds.FIDSOD, lds.SFISOD, AfterAccess, 0, sod)
	if p.ta != nil {
		chain, err := p.chain(power, false)
		if err != nil {
			return nil, p.doc.Get("extended_access").Refuse(err.Error())
		}
		c.TA = &TA{TrustPoints: [][]byte{chain.cvca.Raw}}
		c.TA.Date = cvDate(p.issued)
		app(lds.FIDCVCA, lds.SFICVCA, AfterAccess, 0, lds.CVCA(chain.cvca.Holder))
	}
	for _, g := range groups {
		access, right := AfterAccess, byte(0)
		switch g.number {
		case 3:
			access, right = Extended, RightDG3
		case 4:
			access, right = Extended, RightDG4
		}
		app(lds.GroupFID(g.number), byte(g.number), access, right, g.data)
	}
	return c, p.tamper(c)
}

func sortGroups(g []group) {
	for i := range g {
		for j := i; j > 0 && g[j-1].number > g[j].number; j-- {
			g[j-1], g[j] = g[j], g[j-1]
		}
	}
}

// listed are the data groups that EF.COM lists.
func (p *profile) listed(groups []group) (n []int) {
	for _, g := range groups {
		if !p.has(DefectCOMLess) || g.number <= 2 {
			n = append(n, g.number)
		}
	}
	if p.has(DefectCOMMore) {
		n = append(n, p.absent(groups))
	}
	return n
}

// absent is the last data group that is not there.
func (p *profile) absent(groups []group) int {
	for n := lds.Groups; n > 1; n-- {
		there := false
		for _, g := range groups {
			there = there || g.number == n
		}
		if !there {
			return n
		}
	}
	return lds.Groups
}

// sod is EF.SOD over the data groups.
func (p *profile) sod(k *signers, groups []group) ([]byte, error) {
	o := lds.SecurityObject{Hash: hashOID(p.hash)}
	if p.lds >= "0108" {
		o.Version, o.LDS, o.Unicode = 1, p.lds, unicodeVersion
	}
	if p.has(DefectSODLess) {
		groups = groups[:len(groups)-1]
	}
	for _, g := range groups {
		o.Groups = append(o.Groups, lds.GroupHash{Group: g.number, Hash: digest(p.hash, g.data)})
	}
	cms, err := k.sign(lds.OIDSecurityObject, o.Build())
	if err != nil {
		return nil, err
	}
	if p.has(DefectSignature) {
		cms[len(cms)-1] ^= 1 // the last octet of the signature
	}
	return lds.SOD(cms), nil
}

// infos are the SecurityInfos of a document.
type infos struct {
	access [][]byte // EF.CardAccess
	card   [][]byte // EF.CardSecurity
	all    [][]byte // data group 14
	cam    bool
}

func (p *profile) infos() (i infos, err error) {
	for n := range p.pace {
		x := &p.pace[n]
		info := lds.PACEInfo(x.Protocol, x.Parameters)
		i.access = append(i.access, info)
		if n > 0 || !p.has(DefectCardSecurity) {
			i.card, i.all = append(i.card, info), append(i.all, info)
		}
		if x.Mapping == lds.ChipAuthentication {
			// As the example of Doc 9303-11 appendix I has it.
			key, err := publicKeyInfo(x.Parameters, x.Static, pki.Standardized)
			if err != nil {
				return i, err
			}
			info := lds.ChipAuthenticationPublicKeyInfo(lds.ECDH, key, x.Parameters)
			if !i.cam || !contains(i.card, info) {
				i.card = append(i.card, info)
			}
			i.cam = true
		}
	}
	for n := range p.ca {
		k := &p.ca[n]
		curve, _ := ec.ByID(k.Parameters)
		if k.Public, err = point(curve, k.Private); err != nil {
			return i, err
		}
		key, err := publicKeyInfo(k.Parameters, k.Private, pki.Explicit)
		if err != nil {
			return i, err
		}
		for _, proto := range k.Protocols {
			i.all = append(i.all, lds.ChipAuthenticationInfo(proto, k.ID))
		}
		i.all = append(i.all, lds.ChipAuthenticationPublicKeyInfo(lds.ECDH, key, k.ID))
	}
	if p.ta != nil {
		i.all = append(i.all, lds.TerminalAuthenticationInfo())
	}
	if p.aa != nil && p.aa.scheme == ecdsa {
		i.all = append(i.all, lds.ActiveAuthenticationInfo(lds.PlainECDSA(int(p.aa.hash))))
	}
	return i, nil
}

func contains(all [][]byte, b []byte) bool {
	for _, x := range all {
		if string(x) == string(b) {
			return true
		}
	}
	return false
}

// clone gives the chip keys of another one, where a defect says so: files and public
// keys were copied, private keys could not be.
func (p *profile) clone(c *Chip, power Power) error {
	other := *p
	other.seed = p.seed + "/clone"
	if p.has(DefectClonedAA) && p.aa != nil {
		key, _, err := other.activeKey(power)
		if err != nil {
			return err
		}
		c.AA = key
	}
	for i := range c.CA {
		if k := &c.CA[i]; p.has(DefectClonedCA) {
			curve, _ := ec.ByID(k.Parameters)
			k.Private = private(other.seed, "ca", curve)
			var err error
			if k.Public, err = point(curve, k.Private); err != nil {
				return err
			}
		}
	}
	for i := range c.PACE {
		if x := &c.PACE[i]; p.has(DefectClonedCAM) && x.Static != nil {
			curve, _ := ec.ByID(x.Parameters)
			x.Static = private(other.seed, "cam", curve)
		}
	}
	return nil
}

// fileNames are the words of the persona for the files that are no data groups.
var fileNames = map[string]struct {
	df  DF
	fid uint16
}{
	"com": {LDS1, lds.FIDCOM}, "sod": {LDS1, lds.FIDSOD}, "cvca": {LDS1, lds.FIDCVCA}, "cardaccess": {MF, lds.FIDCardAccess},
	"cardsecurity": {MF, lds.FIDCardSecurity}, "atr": {MF, lds.FIDATRInfo}, "dir": {MF, lds.FIDDIR},
}

// tamper changes files as the persona says.
func (p *profile) tamper(c *Chip) error {
	for _, d := range p.doc.Get("tamper").Items() {
		name := d.Get("file").Text()
		want, ok := fileNames[name]
		if !ok {
			n := 0
			for _, digit := range name[min(2, len(name)):] {
				n = n*10 + int(digit-'0')
			}
			want.df, want.fid = LDS1, lds.GroupFID(n)
		}
		at := -1
		for i := range c.Files {
			if f := &c.Files[i]; f.DF == want.df && f.FID == want.fid {
				at = i
			}
		}
		if at < 0 {
			return d.Get("file").Refuse("is not on the chip")
		}
		if r := d.Get("remove"); r.Exists() && r.Bool() {
			c.Files = append(c.Files[:at], c.Files[at+1:]...)
			continue
		}
		if err := edit(&c.Files[at], d); err != nil {
			return err
		}
	}
	return p.doc.Err()
}

func edit(f *File, d *sdk.Doc) error {
	if w := d.Get("content"); w.Exists() {
		f.Data = w.Hex()
	}
	data := append([]byte(nil), f.Data...)
	at := 0
	if w := d.Get("at"); w.Exists() {
		if at = int(w.Int(-200000, 200000)); at < 0 {
			at += len(data)
		}
	}
	write, xor := d.Get("write"), d.Get("xor")
	n := 0
	if write.Exists() {
		n = len(write.Hex())
	}
	if xor.Exists() {
		n = max(n, len(xor.Hex()))
	}
	if at < 0 || at+n > len(data) {
		return d.Refuse("is about octets that the file does not have")
	}
	if write.Exists() {
		copy(data[at:], write.Hex())
	}
	if xor.Exists() {
		for i, x := range xor.Hex() {
			data[at+i] ^= x
		}
	}
	if t := d.Get("truncate"); t.Exists() && t.Bool() {
		data = data[:at]
	}
	f.Data = data
	return nil
}
