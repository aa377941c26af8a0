package t1

import (
	"strconv"
	"strings"

	"github.com/sspemu/sspemu/transport"
	"github.com/sspemu/sspemu/transport/bus"
)

// Options are what the ends of a T=1' link can be told. The zero value is good.
type Options struct {
	// Vendor is whose way a controller goes; a target takes what comes, in its Format.
	Vendor Vendor
	// IFS is the longest INF that this end takes, IFSD or IFSC. Default FF9.
	IFS int
	// Retries is how often the same is tried again. Default that of Vendor, or 10.
	Retries int
	// CIP is what a target tells. Default OurCIP; IFSC and HB are set by the link.
	CIP CIP
}

// Params are the URL parameters that OptionsOf takes.
var Params = []string{"vendor", "ifs", "retries"}

// OptionsOf reads them:
//
//	spi:/dev/spidev0.0?vendor=nxp&ifs=254&retries=3
func OptionsOf(u transport.URL) (Options, error) {
	var o Options
	names := []string{"any"}
	for _, v := range Vendors {
		names = append(names, v.Name)
	}
	name, err := u.OneOf("vendor", names...)
	if err != nil {
		return o, err
	}
	for _, v := range Vendors {
		if v.Name == name {
			o.Vendor = v
		}
	}
	for _, p := range []struct {
		name string
		v    *int
		most int
	}{{"ifs", &o.IFS, MaxPrimeINF}, {"retries", &o.Retries, 1000}} {
		s, ok := u.Params[p.name]
		if !ok {
			continue
		}
		n, err := strconv.Atoi(strings.TrimSpace(s))
		if err != nil || n < 1 || n > p.most {
			return o, u.Errorf("%s=%s is not a number from 1 to %d", p.name, s, p.most)
		}
		*p.v = n
	}
	return o, nil
}

// engine is the configuration of an end.
func (o Options) engine(role transport.Role) Config {
	c := o.Vendor.Config()
	if role == transport.Target {
		c = Config{Prime: true, Format: o.Vendor.Format}
	}
	c.Role, c.Own = role, o.IFS
	if o.Retries > 0 {
		c.Retries = o.Retries
	}
	return c.withDefaults()
}

// cip is what a target on such a bus tells.
func (o Options) cip(p bus.Physical) CIP {
	c := o.CIP
	if c.Version == 0 {
		c = OurCIP(p)
	}
	c.Physical = p
	c.IFSC = o.engine(transport.Target).Own
	return c
}
