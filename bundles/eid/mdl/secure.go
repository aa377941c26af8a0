package mdl

import (
	"strconv"

	"github.com/sspemu/sspemu/bundles/eid/mdl/mdoc"
	"github.com/sspemu/sspemu/bundles/sdk"
)

// secureArea is the key of a document in NVM, an mdoc.SecureArea. It is the only code that
// reads those keys; they are in memory while one is used.
type secureArea struct {
	name string
	kind mdoc.Kind
}

func keyName(doc int) string { return "d/k" + strconv.Itoa(doc) }

// openKey is the key of a document.
func openKey(doc int) (secureArea, bool) {
	b, _ := sdk.NVM.Get(keyName(doc))
	defer clear(b)
	if len(b) < 2 {
		return secureArea{}, false
	}
	for i, k := range mdoc.Kinds {
		if int(b[0]) == i {
			return secureArea{keyName(doc), k}, true
		}
	}
	return secureArea{}, false
}

// storeKey puts a key where secureArea finds it.
func storeKey(doc int, kind mdoc.Kind, private []byte) error {
	for i, k := range mdoc.Kinds {
		if k.Name == kind.Name {
			return sdk.NVM.Put(keyName(doc), append([]byte{byte(i)}, private...))
		}
	}
	return mdoc.ErrKey
}

// with hands the key to f.
func (s secureArea) with(f func(mdoc.Soft) ([]byte, error)) ([]byte, error) {
	b, _ := sdk.NVM.Get(s.name)
	defer clear(b)
	if len(b) < 2 {
		return nil, mdoc.ErrKey
	}
	return f(mdoc.Soft{Kind: s.kind, Private: b[1:]})
}

// Key implements mdoc.SecureArea.
func (s secureArea) Key() mdoc.Kind { return s.kind }

// Sign implements mdoc.SecureArea.
func (s secureArea) Sign(message []byte) ([]byte, error) {
	return s.with(func(k mdoc.Soft) ([]byte, error) { return k.Sign(message) })
}

// Agree implements mdoc.SecureArea.
func (s secureArea) Agree(peer mdoc.PublicKey) ([]byte, error) {
	return s.with(func(k mdoc.Soft) ([]byte, error) { return k.Agree(peer) })
}
