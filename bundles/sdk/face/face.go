// Package face is how a bundle describes itself to whoever asks: what it is, which
// card it holds, the state of its PINs and counters, its applications. It knows
// neither HTTP nor CoAP.
//
//	App ──> Description ──> tree ─┬─> HTML, JSON   web.Face, at / of the TCP gate
//	       (no secrets)           └─> CBOR, JSON   package coap, at the UDP gate
//
// A Description has no place for the value of a PIN or a key. What an author
// writes into Persona is public.
//
// Sources: RFC 8259 (JSON), RFC 8949 4.2.1 (CBOR, core deterministic encoding),
// HTML 5. The names of the members are ours (chosen).
package face

// Description is what a bundle tells about itself.
type Description struct {
	Name, Title  string // as in bundle.json
	Standards    []string
	Persona      []Field   // who the card belongs to, as far as everybody may know; names differ
	PINs         []PIN     // in the order in which they are shown
	Counters     []Counter // names differ
	Applications []Application
}

// Field is a text with a name, like "ICCID".
type Field struct{ Name, Value string }

// Counter is a number with a name.
type Counter struct {
	Name  string
	Value int64
}

// PIN is the state of a PIN or an administrative key.
type PIN struct {
	Name         string
	Enabled      bool
	Verified     bool
	Left, Most   int // wrong values in a row until it blocks; Left 0: it is blocked
	Unblock      int // tries that are left of the key that unblocks it
	UnblocksMost int // 0: there is no such key
}

// Application is what can be selected.
type Application struct {
	AID   []byte
	Label string
}

// heading is what the page is called.
func (d Description) heading() string {
	if d.Title == "" {
		return d.Name
	}
	return d.Title
}

// tree is the description as every format has it.
func (d Description) tree() value {
	standards := value{kind: list}
	for _, s := range d.Standards {
		standards.items = append(standards.items, text(s))
	}
	persona := value{kind: object}
	for _, f := range d.Persona {
		persona.set(f.Name, text(f.Value))
	}
	pins := value{kind: list}
	for _, p := range d.PINs {
		v := value{kind: object}
		v.set("name", text(p.Name))
		v.set("enabled", truthOf(p.Enabled))
		v.set("verified", truthOf(p.Verified))
		v.set("blocked", truthOf(p.Left == 0))
		v.set("tries_left", number(p.Left))
		v.set("tries", number(p.Most))
		if p.UnblocksMost > 0 {
			v.set("unblock_tries_left", number(p.Unblock))
			v.set("unblock_tries", number(p.UnblocksMost))
		}
		pins.items = append(pins.items, v)
	}
	counters := value{kind: object}
	for _, c := range d.Counters {
		counters.set(c.Name, number(c.Value))
	}
	applications := value{kind: list}
	for _, a := range d.Applications {
		v := value{kind: object}
		v.set("aid", value{kind: octets, text: string(a.AID)})
		v.set("label", text(a.Label))
		applications.items = append(applications.items, v)
	}
	t := value{kind: object}
	t.set("name", text(d.Name))
	t.set("title", text(d.Title))
	t.set("standards", standards)
	t.set("persona", persona)
	t.set("pins", pins)
	t.set("counters", counters)
	t.set("applications", applications)
	return t
}

// JSON is the description as application/json.
func (d Description) JSON() []byte { return append(appendJSON(nil, d.tree()), '\n') }

// CBOR is the description as application/cbor; the same description gives the
// same octets.
func (d Description) CBOR() []byte { return appendCBOR(nil, d.tree()) }
