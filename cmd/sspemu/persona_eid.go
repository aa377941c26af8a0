package main

import (
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/sspemu/sspemu/bundles"
	"github.com/sspemu/sspemu/bundles/eid/issue"
	"github.com/sspemu/sspemu/bundles/eid/lds"
	"github.com/sspemu/sspemu/bundles/eid/mdl"
	"github.com/sspemu/sspemu/bundles/eid/piv"
	"github.com/sspemu/sspemu/bundles/eid/pki"
	"github.com/sspemu/sspemu/bundles/sdk"
	"github.com/sspemu/sspemu/internal/ec"
	"github.com/sspemu/sspemu/primary/loader"
)

func newPersonaEID() *cobra.Command {
	var anchors string
	var secrets bool
	cmd := &cobra.Command{
		Use:   "eid [FILE]",
		Short: "Print what is on the travel document of a persona; write the trust anchors of inspection systems",
		Long: `Prints, as JSON, the travel document of a persona: the machine readable zone, the protocols,
the files with their access conditions, what is wrong with it on purpose. Without FILE, that
of the default persona. Private keys and the PIN are there only with --secrets.

With --anchors, the directory gets what an inspection system has to know:

  csca.pem, csca.der          country signing certification authority
  ds.pem                      document signer (it is on the chip too, in EF.SOD)
  masterlist.ml               master list of Doc 9303-12, a CMS file
  csca.crl                    certificate revocation list, DER
  cvca.cvcert, dv.cvcert, is.cvcert, is.pem
                              card verifiable certificates down to an inspection system, and
                              its private key (PKCS #8), for data groups 3 and 4
  mdl/iaca.pem, mdl/ds.pem    issuing authority and document signer of mobile documents
  mdl/reader-ca.pem, mdl/reader.pem, mdl/reader-key.pem
                              a reader that the mobile documents know, with its private key
  piv/ca.pem                  authority of the PIV card's certificates`,
		Example: `  sspemu persona eid --anchors trust
  sspemu inspect mrtd --anchors trust --link 'pcsc:Virtual PCD'`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			doc, err := eidPersona(strings.Join(args, ""))
			if err != nil {
				return err
			}
			out := eidDocument{Schema: 1}
			if doc.Has("mrtd") {
				chip, err := issue.NewWith(doc, issue.Native)
				if err != nil {
					return fmt.Errorf("persona: %w", err)
				}
				out = describeDocument(chip, secrets)
			}
			if anchors != "" {
				if out.Anchors, err = writeAnchors(doc, anchors); err != nil {
					return err
				}
			}
			e := json.NewEncoder(cmd.OutOrStdout())
			e.SetIndent("", "  ")
			e.SetEscapeHTML(false) // fillers
			return e.Encode(out)
		},
	}
	cmd.Flags().StringVar(&anchors, "anchors", "", "write the trust anchors to this `directory`")
	cmd.Flags().BoolVar(&secrets, "secrets", false, "private keys and PIN as well")
	return cmd
}

// eidDocument is the output of `sspemu persona eid`.
type eidDocument struct {
	Schema   int       `json:"schema"`
	MRZ      []string  `json:"mrz,omitempty"`
	CAN      string    `json:"can,omitempty"`
	PIN      string    `json:"pin,omitempty"`
	BAC      bool      `json:"bac"`
	PACE     []eidKey  `json:"pace,omitempty"`
	CA       []eidKey  `json:"chip_authentication,omitempty"`
	AA       *eidKey   `json:"active_authentication,omitempty"`
	Extended bool      `json:"extended_access"`
	Files    []eidFile `json:"files,omitempty"`
	Size     int       `json:"size,omitempty"`
	Defects  []string  `json:"defects,omitempty"`
	Anchors  []string  `json:"anchors,omitempty"`
}

type eidKey struct {
	Protocol string `json:"protocol"`
	Domain   string `json:"domain,omitempty"`
	Key      string `json:"key,omitempty"`
	Private  string `json:"private,omitempty"`
}

type eidFile struct {
	Name   string `json:"name"`
	FID    string `json:"fid"`
	SFI    string `json:"sfi"`
	Size   int    `json:"size"`
	Access string `json:"access"`
}

func describeDocument(c *issue.Chip, secrets bool) eidDocument {
	d := eidDocument{Schema: 1, CAN: c.Passwords.CAN, BAC: c.BAC, Extended: c.TA != nil}
	secret := func(b []byte) string {
		if !secrets {
			return ""
		}
		return strings.ToUpper(hex.EncodeToString(b))
	}
	if secrets {
		d.PIN = c.Passwords.PIN
	}
	for _, p := range c.PACE {
		d.PACE = append(d.PACE, eidKey{Protocol: p.Name, Domain: domain(p.Parameters), Private: secret(p.Static)})
	}
	for _, k := range c.CA {
		for _, p := range k.Protocols {
			key := eidKey{Protocol: p.Name, Domain: domain(k.Parameters), Private: secret(k.Private)}
			if k.ID >= 0 {
				key.Key = fmt.Sprint(k.ID)
			}
			d.CA = append(d.CA, key)
		}
	}
	switch {
	case c.AA == nil:
	case c.AA.Parameters > 0:
		d.AA = &eidKey{Protocol: "ECDSA with " + c.AA.Hash.String(), Domain: domain(c.AA.Parameters), Private: secret(c.AA.Private)}
	default:
		d.AA = &eidKey{Protocol: "RSA with " + c.AA.Hash.String(), Domain: fmt.Sprintf("%d bits", 16*len(c.AA.P)), Private: secret(append(c.AA.P[:len(c.AA.P):len(c.AA.P)], c.AA.Q...))}
	}
	for _, f := range c.Files {
		if text, err := lds.ParseDG1(f.Data); err == nil && f.FID == lds.GroupFID(1) {
			d.MRZ = lds.Lines(text)
		}
		d.Files = append(d.Files, eidFile{Name: f.Name(), FID: fmt.Sprintf("%04X", f.FID), SFI: fmt.Sprintf("%02X", f.SFI), Size: len(f.Data), Access: f.Access.String()})
		d.Size += len(f.Data)
	}
	for _, x := range c.Defects {
		d.Defects = append(d.Defects, string(x))
	}
	return d
}

func domain(id int) string {
	if c, ok := ec.ByID(id); ok {
		return c.Name
	}
	return fmt.Sprintf("standardized domain parameters %d", id)
}

// eidPersona is the document of a persona file, "" for that of the built-in bundle.
func eidPersona(file string) (*sdk.Doc, error) {
	spb, err := bundles.Open("eid")
	if err != nil {
		return nil, err
	}
	pkg, err := loader.Parse(spb)
	if err != nil {
		return nil, err
	}
	yaml, name := pkg.DefaultPersona, "eid default persona"
	if file != "" {
		name = file
		if yaml, err = os.ReadFile(file); err != nil {
			return nil, fmt.Errorf("persona: %w", err)
		}
	}
	doc, err := issue.FromYAML(yaml, name, pkg.Schema)
	if err != nil {
		return nil, fmt.Errorf("persona: %w", err)
	}
	return doc, nil
}

// seedOf is the seed of a persona, which may have none.
func seedOf(doc *sdk.Doc) string {
	if !doc.Has("seed") {
		return ""
	}
	return doc.Get("seed").Text()
}

// writeAnchors writes the trust anchors of a persona into a directory, those of mobile
// documents and of the PIV card into one below each: none is trusted for another.
func writeAnchors(doc *sdk.Doc, dir string) (names []string, err error) {
	var files []issue.Content
	if doc.Has("mrtd") {
		a, err := issue.Trust(doc)
		if err != nil {
			return nil, fmt.Errorf("persona: trust anchors: %w", err)
		}
		files = a.Files()
	}
	if doc.Has("mdl") {
		a, err := mdl.Trust(doc)
		if err != nil {
			return nil, fmt.Errorf("persona: trust anchors: %w", err)
		}
		for _, c := range []struct {
			name string
			cert *pki.Certificate
		}{{"iaca", a.IACA}, {"ds", a.Signer}, {"reader-ca", a.ReaderCA}, {"reader", a.Reader}} {
			files = append(files, issue.Content{Name: "mdl/" + c.name + ".pem", Data: issue.PEM("CERTIFICATE", c.cert.Raw)})
		}
		files = append(files, issue.Content{Name: "mdl/reader-key.pem", Data: issue.PEM("PRIVATE KEY", a.ReaderKey.PKCS8()), Secret: true})
	}
	if section := doc.Get("piv"); section.Exists() {
		der, err := piv.Anchor(section, seedOf(doc))
		if err != nil {
			return nil, fmt.Errorf("persona: trust anchors: %w", err)
		}
		files = append(files, issue.Content{Name: "piv/ca.pem", Data: issue.PEM("CERTIFICATE", der)})
	}
	for _, f := range files {
		path := filepath.Join(dir, filepath.FromSlash(f.Name))
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return nil, fmt.Errorf("persona: %w", err)
		}
		mode := os.FileMode(0o644)
		if f.Secret {
			mode = 0o600
		}
		if err := os.WriteFile(path, f.Data, mode); err != nil {
			return nil, fmt.Errorf("persona: %w", err)
		}
		names = append(names, f.Name)
	}
	return names, nil
}
