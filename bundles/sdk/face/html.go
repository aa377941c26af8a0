package face

import "strings"

// style is the whole style sheet of HTML; stylePolicy lets a browser use this one
// and nothing else.
const style = `:root{color-scheme:light dark;--ink:#1d2433;--soft:#5a6478;--paper:#fff;--wash:#f3f5f9;--line:#d5dbe6;--accent:#0b5cad}` +
	`@media(prefers-color-scheme:dark){:root{--ink:#e6eaf2;--soft:#a3adc0;--paper:#12161f;--wash:#1b212d;--line:#343d4f;--accent:#7db8f7}}` +
	`*{box-sizing:border-box}` +
	`body{margin:0;background:var(--wash);color:var(--ink);font:1rem/1.5 system-ui,sans-serif}` +
	`main{max-width:60rem;margin:auto;padding:1.5rem 1rem 3rem}` +
	`h1{margin:0;font-size:1.7rem;line-height:1.25}` +
	`h2{margin:0 0 .6rem;font-size:1.1rem}` +
	`section{margin-top:1.2rem;padding:1rem 1.2rem;background:var(--paper);border:1px solid var(--line);border-radius:.6rem;overflow-x:auto}` +
	`ul{margin:0;padding-left:1.2rem}` +
	`dl{display:grid;grid-template-columns:max-content 1fr;gap:.3rem 1.5rem;margin:0}` +
	`dt,thead th,footer,.name{color:var(--soft)}` +
	`dd{margin:0;overflow-wrap:anywhere}` +
	`table{width:100%;border-collapse:collapse}` +
	`th,td{padding:.35rem .8rem .35rem 0;border-bottom:1px solid var(--line);text-align:left;vertical-align:top}` +
	`tbody tr:last-child>*{border-bottom:0}` +
	`th{font-weight:600}` +
	`dd,td,code{font-variant-numeric:tabular-nums}` +
	`code{color:var(--accent);font-family:ui-monospace,monospace;overflow-wrap:anywhere}` +
	`footer{margin-top:1.5rem;font-size:.9rem}`

// Policy is the Content-Security-Policy of HTML: nothing is loaded or run, and the
// only style sheet is the one of this package.
const Policy = "default-src 'none'; style-src 'sha256-" + styleHash + "'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

// styleHash is SHA-256 of style in Base64; a test compares.
const styleHash = "kx/KPGjoBRtidZ2+d9h8dJVTS9GcGXvT5juGLES9ejs="

// HTML is the description as a page of its own, without scripts, for light and
// dark screens.
func (d Description) HTML() []byte {
	t := d.tree()
	b := append([]byte(nil), `<!DOCTYPE html><html lang="en"><head><meta charset="utf-8">`+
		`<meta name="viewport" content="width=device-width,initial-scale=1"><meta name="color-scheme" content="light dark"><title>`...)
	b = appendEscaped(b, clean(d.heading()))
	b = append(b, `</title><style>`+style+`</style></head><body><main><header><h1>`...)
	b = appendEscaped(b, clean(d.heading()))
	b = append(b, `</h1><div class="name">Bundle <code>`...)
	b = appendEscaped(b, clean(d.Name))
	b = append(b, `</code>, active on this card</div></header>`...)
	for i, v := range t.items {
		if len(v.items) == 0 { // name and title, or nothing
			continue
		}
		key := t.keys[i]
		b = append(b, `<section aria-labelledby="`+key+`"><h2 id="`+key+`">`...)
		b = appendEscaped(b, label(key))
		b = append(b, `</h2>`...)
		b = appendHTML(b, v)
		b = append(b, `</section>`...)
	}
	return append(b, `<footer>The same as data: ask with <code>Accept: application/json</code> or <code>Accept: application/cbor</code>.</footer></main></body></html>`+"\n"...)
}

// appendHTML adds v: an object as a list of terms, a list of objects as a table,
// another list as one, the rest as words.
func appendHTML(b []byte, v value) []byte {
	switch {
	case v.kind == object:
		b = append(b, `<dl>`...)
		for i, m := range v.items {
			b = append(b, `<dt>`...)
			b = appendEscaped(b, label(v.keys[i]))
			b = append(b, `</dt><dd>`...)
			b = append(appendHTML(b, m), `</dd>`...)
		}
		return append(b, `</dl>`...)
	case v.kind == list && v.items[0].kind == object:
		return appendTable(b, v.items)
	case v.kind == list:
		b = append(b, `<ul>`...)
		for _, m := range v.items {
			b = append(b, `<li>`...)
			b = append(appendHTML(b, m), `</li>`...)
		}
		return append(b, `</ul>`...)
	case v.kind == octets:
		b = append(b, `<code>`...)
		return append(append(b, v.words()...), `</code>`...)
	}
	return appendEscaped(b, v.words())
}

// appendTable adds rows with a column for every key that one of them has.
func appendTable(b []byte, rows []value) []byte {
	head := value{kind: object}
	for _, r := range rows {
		for _, k := range r.keys {
			head.set(k, value{})
		}
	}
	b = append(b, `<table><thead><tr>`...)
	for _, k := range head.keys {
		b = append(b, `<th scope="col">`...)
		b = appendEscaped(b, label(k))
		b = append(b, `</th>`...)
	}
	b = append(b, `</tr></thead><tbody>`...)
	for _, r := range rows {
		b = append(b, `<tr>`...)
		for i, k := range head.keys {
			cell, end := `<td>`, `</td>`
			if i == 0 { // what the row is about
				cell, end = `<th scope="row">`, `</th>`
			}
			b = append(b, cell...)
			if m, ok := r.get(k); ok {
				b = appendHTML(b, m)
			}
			b = append(b, end...)
		}
		b = append(b, `</tr>`...)
	}
	return append(b, `</tbody></table>`...)
}

// label is a key as a heading: "tries_left" is "Tries left".
func label(key string) string {
	switch key {
	case "pins":
		return "PINs"
	case "aid":
		return "AID"
	}
	words := []byte(strings.ReplaceAll(key, "_", " "))
	if len(words) > 0 && words[0] >= 'a' && words[0] <= 'z' {
		words[0] -= 'a' - 'A'
	}
	return string(words)
}

var escapes = strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;", `"`, "&#34;", "'", "&#39;")

func appendEscaped(b []byte, s string) []byte { return append(b, escapes.Replace(s)...) }
