package pace

import (
	"bytes"
	"errors"
	"math/big"

	"github.com/sspemu/sspemu/bundles/eid/sm"
	"github.com/sspemu/sspemu/internal/rsakey"
	"github.com/sspemu/sspemu/internal/tlv"
)

// Group is a prime field with a subgroup of prime order Q that G generates. Public keys
// are as long as P.
type Group struct{ P, G, Q []byte }

// groups are those with the standardized domain parameters 0 to 2 (Doc 9303-11 9.5.1;
// RFC 5114 2.1 to 2.3).
var groups = [...]Group{
	{
		P: unhex("B10B8F96A080E01DDE92DE5EAE5D54EC52C99FBCFB06A3C69A6A9DCA52D23B616073E28675A23D189838EF1E2EE652C013ECB4AEA9061123" +
			"24975C3CD49B83BFACCBDD7D90C4BD7098488E9C219A73724EFFD6FAE5644738FAA31A4FF55BCCC0A151AF5F0DC8B4BD45BF37DF365C1A65" +
			"E68CFDA76D4DA708DF1FB2BC2E4A4371"),
		G: unhex("A4D1CBD5C3FD34126765A442EFB99905F8104DD258AC507FD6406CFF14266D31266FEA1E5C41564B777E690F5504F213160217B4B01B886A" +
			"5E91547F9E2749F4D7FBD7D3B9A92EE1909D0D2263F80A76A6A24C087A091F531DBF0A0169B6A28AD662A4D18E73AFA32D779D5918D08BC8" +
			"858F4DCEF97C2A24855E6EEB22B3B2E5"),
		Q: unhex("F518AA8781A8DF278ABA4E7D64B7CB9D49462353"),
	},
	{
		P: unhex("AD107E1E9123A9D0D660FAA79559C51FA20D64E5683B9FD1B54B1597B61D0A75E6FA141DF95A56DBAF9A3C407BA1DF15EB3D688A309C180E" +
			"1DE6B85A1274A0A66D3F8152AD6AC2129037C9EDEFDA4DF8D91E8FEF55B7394B7AD5B7D0B6C12207C9F98D11ED34DBF6C6BA0B2C8BBC27BE" +
			"6A00E0A0B9C49708B3BF8A317091883681286130BC8985DB1602E714415D9330278273C7DE31EFDC7310F7121FD5A07415987D9ADC0A486D" +
			"CDF93ACC44328387315D75E198C641A480CD86A1B9E587E8BE60E69CC928B2B9C52172E413042E9B23F10B0E16E79763C9B53DCF4BA80A29" +
			"E3FB73C16B8E75B97EF363E2FFA31F71CF9DE5384E71B81C0AC4DFFE0C10E64F"),
		G: unhex("AC4032EF4F2D9AE39DF30B5C8FFDAC506CDEBE7B89998CAF74866A08CFE4FFE3A6824A4E10B9A6F0DD921F01A70C4AFAAB739D7700C29F52" +
			"C57DB17C620A8652BE5E9001A8D66AD7C17669101999024AF4D027275AC1348BB8A762D0521BC98AE247150422EA1ED409939D54DA7460CD" +
			"B5F6C6B250717CBEF180EB34118E98D119529A45D6F834566E3025E316A330EFBB77A86F0C1AB15B051AE3D428C8F8ACB70A8137150B8EEB" +
			"10E183EDD19963DDD9E263E4770589EF6AA21E7F5F2FF381B539CCE3409D13CD566AFBB48D6C019181E1BCFE94B30269EDFE72FE9B6AA4BD" +
			"7B5A0F1C71CFFF4C19C418E1F6EC017981BC087F2A7065B384B890D3191F2BFA"),
		Q: unhex("801C0D34C58D93FE997177101F80535A4738CEBCBF389A99B36371EB"),
	},
	{
		P: unhex("87A8E61DB4B6663CFFBBD19C651959998CEEF608660DD0F25D2CEED4435E3B00E00DF8F1D61957D4FAF7DF4561B2AA3016C3D91134096FAA" +
			"3BF4296D830E9A7C209E0C6497517ABD5A8A9D306BCF67ED91F9E6725B4758C022E0B1EF4275BF7B6C5BFC11D45F9088B941F54EB1E59BB8" +
			"BC39A0BF12307F5C4FDB70C581B23F76B63ACAE1CAA6B7902D52526735488A0EF13C6D9A51BFA4AB3AD8347796524D8EF6A167B5A41825D9" +
			"67E144E5140564251CCACB83E6B486F6B3CA3F7971506026C0B857F689962856DED4010ABD0BE621C3A3960A54E710C375F26375D7014103" +
			"A4B54330C198AF126116D2276E11715F693877FAD7EF09CADB094AE91E1A1597"),
		G: unhex("3FB32C9B73134D0B2E77506660EDBD484CA7B18F21EF205407F4793A1A0BA12510DBC15077BE463FFF4FED4AAC0BB555BE3A6C1B0C6B47B1" +
			"BC3773BF7E8C6F62901228F8C28CBB18A55AE31341000A650196F931C77A57F2DDF463E5E9EC144B777DE62AAAB8A8628AC376D282D6ED38" +
			"64E67982428EBC831D14348F6F2F9193B5045AF2767164E1DFC967C1FB3F2E55A4BD1BFFE83B9C80D052B985D182EA0ADB2A3B7313D3FE14" +
			"C8484B1E052588B9B7D2BBD2DF016199ECD06E1557CD0915B3353BBB64E0EC377FD028370DF92B52C7891428CDC67EB6184B523D1DB246C3" +
			"2F63078490F00EF8D647D148D47954515E2327CFEF98C582664B4C0F6CC41659"),
		Q: unhex("8CF83642A709A097B447997640129DA299B1A47D1EB3750BA308B0FE64F5FBD3"),
	},
}

// GroupByID is the group with standardized domain parameters.
func GroupByID(id int) (*Group, bool) {
	if id < 0 || id >= len(groups) {
		return nil, false
	}
	return &groups[id], true
}

var errPublic = errors.New("pace: no public key of the group")

// Scalar makes a private key of randomness, of at least eight octets more than Q has.
func (g *Group) Scalar(random []byte) []byte {
	q := new(big.Int).SetBytes(g.Q)
	k := new(big.Int).SetBytes(random)
	k.Mod(k, q.Sub(q, big.NewInt(1))).Add(k, big.NewInt(1))
	return k.FillBytes(make([]byte, len(g.Q)))
}

// Check tells whether y is a public key: neither 0 nor 1, and in the subgroup.
func (g *Group) Check(power rsakey.Power, y []byte) error {
	n := new(big.Int).SetBytes(y)
	if len(y) != len(g.P) || n.Cmp(big.NewInt(1)) <= 0 || bytes.Compare(y, g.P) >= 0 {
		return errPublic
	}
	one, err := g.Power(power, y, g.Q)
	if err != nil || new(big.Int).SetBytes(one).Cmp(big.NewInt(1)) != 0 {
		return errPublic
	}
	return nil
}

// Power is base to the power of exp.
func (g *Group) Power(power rsakey.Power, base, exp []byte) ([]byte, error) {
	out := make([]byte, len(g.P))
	return out, power(out, base, exp, g.P)
}

// Generic is the generator of generic mapping: that of the group to the power of the
// nonce s, times the shared secret h of the mapping (Doc 9303-11 4.4.3.3.1).
func (g *Group) Generic(power rsakey.Power, s, h []byte) ([]byte, error) {
	b, err := g.Power(power, g.G, s)
	if err != nil {
		return nil, err
	}
	n := new(big.Int).SetBytes(b)
	n.Mul(n, new(big.Int).SetBytes(h)).Mod(n, new(big.Int).SetBytes(g.P))
	return n.FillBytes(b), nil
}

// Integrated is the generator of integrated mapping: the pseudo-random number, brought
// into the subgroup (Doc 9303-11 4.4.3.3.2).
func (g *Group) Integrated(power rsakey.Power, alg sm.Alg, s, t []byte) ([]byte, error) {
	p := new(big.Int).SetBytes(g.P)
	x, err := PseudoRandom(alg, s, t, p)
	if err != nil {
		return nil, err
	}
	a := new(big.Int).Sub(p, big.NewInt(1))
	a.Div(a, new(big.Int).SetBytes(g.Q))
	out, err := g.Power(power, x.FillBytes(make([]byte, len(g.P))), a.Bytes())
	if err == nil && new(big.Int).SetBytes(out).Cmp(big.NewInt(1)) <= 0 {
		err = errPublic
	}
	return out, err
}

// TokenDH is an authentication token over the other side's public key of a group (Doc
// 9303-11 4.4.3.4).
func TokenDH(alg sm.Alg, kmac, oid, y []byte) []byte {
	in := tlv.Append(nil, 0x06, oid...)
	return sm.MAC(alg, kmac, tlv.Append(nil, 0x7F49, tlv.Append(in, 0x84, y...)...))
}
