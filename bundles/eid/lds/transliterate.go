package lds

import "strings"

// latin is the transliteration of letters of the Latin script: what they become, then
// the letters (Doc 9303-3 6 A). Where the table leaves a choice, the first one is taken.
var latin = []string{
	"A ÀÁÂÃĀĂĄẢẠẤẦẨẪẬẮẰẲẴẶ", "AE ÄÆ", "AA Å", "C ÇĆĈĊČ", "D ÐĎĐ", "E ÈÉÊËĒĔĖĘĚẸẺẼẾỀỂỄỆ", "G ĜĞĠĢ", "H ĤĦ",
	"I ÌÍÎÏĨĪĬĮİỈỊ", "IJ Ĳ", "J Ĵ", "K Ķ", "L ĹĻĽĿŁ", "N ÑŃŅŇŊ", "O ÒÓÔÕŌŎŐƠỌỎỐỒỔỖỘỚỜỞỠỢ", "OE ÖØŒ",
	"R ŔŖŘ", "S ŚŜŞŠȘ", "SS ßẞ", "T ŢŤŦȚ", "TH Þ", "U ÙÚÛŨŪŬŮŰŲƯỤỦỨỪỬỮỰ", "UE Ü", "W Ŵ", "Y ÝŶŸỲỴỶỸ", "Z ŹŻŽ",
}

// cyrillic is the same for the Cyrillic script (Doc 9303-3 6 B), without the choices of
// single languages; unverified: recalled, the table was not read.
var cyrillic = []string{
	"A А", "B Б", "V В", "G ГЃҐ", "D ДЂ", "E ЕЁЭ", "ZH Ж", "Z З", "I ИІЙЇ", "K КЌ", "L Л", "M М", "N Н", "O О", "P П", "R Р", "S С", "T Т",
	"U УЎ", "F Ф", "KH Х", "TS Ц", "CH Ч", "SH Ш", "SHCH Щ", "IE ЪЄ", "Y Ы", "IU Ю", "IA Я", "J Ј", "LJ Љ", "NJ Њ", "DZ Џ",
}

// Transliterate is a name as it may stand in a machine readable zone: letters A to Z and
// spaces. Hyphens become spaces, apostrophes, commas and full stops are left out (Doc
// 9303-3 4.6). ok is false when there is a letter that no table has.
func Transliterate(name string) (zone string, ok bool) {
	var b strings.Builder
	for _, r := range strings.ToUpper(name) {
		switch {
		case r >= 'A' && r <= 'Z':
			b.WriteRune(r)
		case r == ' ' || r == '-' || r == '<' || r == '‐' || r == '–':
			b.WriteByte(' ')
		case strings.ContainsRune("'’ʼ`,.Ь", r):
		default:
			s := lookUp(latin, r) + lookUp(cyrillic, r)
			if s == "" {
				return "", false
			}
			b.WriteString(s)
		}
	}
	return strings.Join(strings.Fields(b.String()), " "), true
}

func lookUp(table []string, r rune) string {
	for _, line := range table {
		if to, from, _ := strings.Cut(line, " "); strings.ContainsRune(from, r) {
			return to
		}
	}
	return ""
}
