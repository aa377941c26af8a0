package iot

import (
	"net/http"
	"strconv"

	"github.com/sspemu/sspemu/bundles/iot/iotsafe"
	"github.com/sspemu/sspemu/bundles/iot/profile"
	"github.com/sspemu/sspemu/bundles/sdk"
	"github.com/sspemu/sspemu/bundles/sdk/coap"
	"github.com/sspemu/sspemu/bundles/sdk/face"
	"github.com/sspemu/sspemu/bundles/sdk/web"
)

// Gates are the services beside UICC APDU: the description of the card and its pages,
// over HTTP at the TCP gate and over CoAP at the UDP gate. The pages are there after Init.
func (c *Card) Gates() sdk.Gates {
	site := http.NewServeMux()
	site.Handle("/", c.site(web.Face(c.describe)))
	c.things = coap.New()
	c.things.Face(c.describe)
	return sdk.Gates{TCP: web.New(site), UDP: c.things}
}

// describe tells what GET DATA tells as well: identities and other objects with their
// states. The content of a key or a file has no way into a face.Description.
func (c *Card) describe() face.Description {
	d := face.Description{Name: "iot", Title: "IoT SAFE applet", Standards: []string{"GSMA IoT.05", "ETSI TS 102 225", "ETSI TS 102 226"}}
	for i := range c.objects {
		o := &c.objects[i]
		d.Persona = append(d.Persona, face.Field{Name: o.title(), Value: o.words()})
	}
	for i := range c.domains {
		o := &c.domains[i]
		d.Persona = append(d.Persona, face.Field{Name: "domain " + o.Name, Value: o.Kind + ", TAR " + profile.Hex(o.TAR[:]) + ", " + strconv.Itoa(len(o.Containers)) + " containers"})
	}
	open := 0
	for _, s := range c.sessions {
		if s.open {
			open++
		}
	}
	d.Counters = []face.Counter{{Name: "sessions open", Value: int64(open)}, {Name: "sessions at most", Value: int64(len(c.sessions))}}
	for _, aid := range c.profile.AIDs {
		d.Applications = append(d.Applications, face.Application{AID: aid, Label: "IoT SAFE"})
	}
	return d
}

// title is what a person calls the object: names of a face.Description differ.
func (o *object) title() string {
	kind := o.Kind.String()
	if o.Kind == profile.Private {
		kind = "identity"
	}
	return kind + " " + profile.Hex(o.ID)
}

func (o *object) words() string {
	s := string(o.Label)
	if s != "" {
		s += ", "
	}
	if o.Kind == profile.File {
		if o.Usage == iotsafe.FileCertificate {
			s += "certificate, "
		}
		s += strconv.Itoa(o.size) + " bytes, "
	} else {
		s += iotsafe.TypeName(o.Type) + ", "
	}
	return s + o.stateWord()
}

// stateWord is the state as people call it.
func (o *object) stateWord() string {
	switch {
	case o.broken:
		return "damaged"
	case o.filled:
		return "activated"
	}
	return "deactivated"
}
