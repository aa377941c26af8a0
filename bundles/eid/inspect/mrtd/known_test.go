package mrtd

import (
	"bytes"
	"context"
	"encoding/hex"
	"math/big"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sspemu/sspemu/bundles/eid/inspect"
	"github.com/sspemu/sspemu/bundles/eid/lds"
	"github.com/sspemu/sspemu/bundles/eid/pace"
	"github.com/sspemu/sspemu/bundles/eid/sm"
	"github.com/sspemu/sspemu/internal/ec"
)

// script is a card that has to be sent these commands: "command response", hexadecimal.
type script struct {
	t     *testing.T
	lines []string
}

func (s *script) Transmit(_ context.Context, capdu, _ []byte) ([]byte, error) {
	require.NotEmpty(s.t, s.lines, "%X", capdu)
	want, answer, _ := strings.Cut(s.lines[0], " ")
	s.lines = s.lines[1:]
	require.Equal(s.t, strings.ToUpper(want), strings.ToUpper(hexOf(capdu)))
	return unhex(answer), nil
}

func unhex(s string) []byte {
	b, err := hex.DecodeString(s)
	if err != nil {
		panic(err)
	}
	return b
}

func hexOf(b []byte) string {
	const d = "0123456789ABCDEF"
	var s strings.Builder
	for _, c := range b {
		s.WriteByte(d[c>>4])
		s.WriteByte(d[c&15])
	}
	return s.String()
}

// TestBAC is the worked example of Doc 9303-11 appendix D: the keys, and the first file
// read with them.
func TestBAC(t *testing.T) {
	r := &inspect.Report{}
	s := &inspection{r: r, Config: Config{Random: bytes.NewReader(unhex("781723860C06C226" + "0B795240CB7049B01C19B33E32804F0B"))}}
	require.NoError(t, s.Passwords.FromFields("L898902C", "690806", "940623"))
	require.Equal(t, "L898902C<369080619406236", s.Passwords.MRZ)
	s.ch.card = &script{t, []string{
		"0084000008 00000000000000009000",
		"0084000008 4608F919887022129000",
		"008200002872C29C2371CC9BDB65B779B8E8D37B29ECC154AA56A8799FAE2F498F76ED92F25F1448EEA8AD90A728 46B9342A41396CD7386BF5803104D7CEDC122B9132139BAF2EEDC94EE178534F2F2D235D074D74499000",
		"0CA4020C158709016375432908C044F68E08BF8B92D635FF24F800 990290008E08FA855A5D4C50A8ED9000",
	}}
	require.NoError(t, s.bac(context.Background()))
	_, sw, err := s.ch.send(context.Background(), unhex("00A4020C02011E"))
	require.NoError(t, err)
	require.EqualValues(t, 0x9000, sw)
	require.True(t, r.OK())
}

// TestPACE is the worked example of Doc 9303-11 appendix G.1: generic mapping on
// brainpoolP256r1.
func TestPACE(t *testing.T) {
	less := func(private string) []byte { // Curve.Scalar makes it one more
		n := new(big.Int).SetBytes(unhex(private))
		return n.Sub(n, big.NewInt(1)).FillBytes(make([]byte, 40))
	}
	r := &inspect.Report{}
	s := &inspection{r: r, Config: Config{Random: bytes.NewReader(append(
		less("7F4EF07B9EA82FD78AD689B38D0BC78CF21F249D953BC46F4C6E19259C010F99"),
		less("A73FB703AC1436A18E0CFA5ABB3F7BEC7A070E7A6788486BEE230C4A22762595")...))}}
	require.NoError(t, s.Passwords.FromMRZ("T22000129364081251010318"))
	s.ch.card = &script{t, []string{
		"0022C1A40F800A04007F00070202040202830101 9000",
		"10860000027C0000 7C12801095A3A016522EE98D01E76CB6B98B42C39000",
		"10860000457C438141047ACF3EFC982EC45565A4B155129EFBC74650DCBFA6362D896FC70262E0C2CC5E544552DCB6725218799115B55C9BAA6D9F6BC3A9618E70C25AF71777A9C4922D00 " +
			"7C43824104824FBA91C9CBE26BEF53A0EBE7342A3BF178CEA9F45DE0B70AA601651FBA3F5730D8C879AAA9C9F73991E61B58F4D52EB87A0A0C709A49DC63719363CCD13C549000",
		"10860000457C438341042DB7A64C0355044EC9DF190514C625CBA2CEA48754887122F3A5EF0D5EDD301C3556F3B3B186DF10B857B58F6A7EB80F20BA5DC7BE1D43D9BF850149FBB3646200 " +
			"7C438441049E880F842905B8B3181F7AF7CAA9F0EFB743847F44A306D2D28C1D9EC65DF6DB7764B22277A2EDDC3C265A9F018F9CB852E111B768B326904B59A0193776F0949000",
		"008600000C7C0A8508C2B0BD78D94BA86600 7C0A86083ABB9674BCE93C089000",
	}}
	p, _ := lds.ProtocolByOID(unhex("04007F00070202040202"))
	require.NoError(t, s.pace(context.Background(), &lds.SecurityInfo{OID: p.OID, Protocol: &p, Parameters: 13}, false))
	require.Equal(t, "9E880F842905B8B3181F7AF7CAA9F0EFB743847F44A306D2D28C1D9EC65DF6DB", hexOf(s.id))
	require.True(t, r.OK())
}

// TestIntegrated is the worked example of Doc 9303-11 appendix H.1: integrated mapping on
// brainpoolP256r1.
func TestIntegrated(t *testing.T) {
	nonce, tt := unhex("2923BE84E16CD6AE529049F1F1BBE9EB"), unhex("5DD4CBFC96F5453B130D890A1CDBAE32")
	p, _, _, _, _ := ec.BrainpoolP256r1.Parameters()
	n, err := pace.PseudoRandom(sm.AES128, nonce, tt, new(big.Int).SetBytes(p))
	require.NoError(t, err)
	require.Equal(t, "A2F8FF2DF50E52C6599F386ADCB595D229F6A167ADE2BE5F2C3296ADD5B7430E", hexOf(n.Bytes()))
	g, err := pace.Integrated(ec.BrainpoolP256r1, sm.AES128, nonce, tt)
	require.NoError(t, err)
	require.Equal(t, "048E82D31559ED0FDE92A4D0498ADD3C23BABA94FB77691E31E90AEA77FB17D427"+"4C1AE14BD0C3DBAC0C871B7F3608169364437CA30AC243A089D3F266C1E60FAD", hexOf(g.Bytes()))
	for _, c := range ec.Curves() { // the point is on the curve, or the curve is refused
		for _, a := range []sm.Alg{sm.AES128, sm.AES192, sm.AES256} {
			_, err := pace.Integrated(c, a, append(nonce, nonce...), make([]byte, a.KeySize()))
			require.Equal(t, c == ec.P224, err != nil, c.Name)
		}
	}
}

func TestPasswords(t *testing.T) {
	for in, want := range map[string]string{
		"P<UTOERIKSSON<<ANNA<MARIA<<<<<<<<<<<<<<<<<<<\nL898902C36UTO7408122F1204159ZE184226B<<<<<10": "L898902C3674081221204159",
		"l898902c3674081221204159": "L898902C3674081221204159",
	} {
		var p Passwords
		require.NoError(t, p.FromMRZ(in))
		require.Equal(t, want, p.MRZ)
	}
	for _, in := range []string{"", "L898902C3674081221204158", "P<UTO", "L898902C3574081221204159"} {
		require.Error(t, new(Passwords).FromMRZ(in), in)
	}
	var p Passwords
	require.NoError(t, p.FromFields("L898902C3", "1974-08-12", "120415"))
	require.Equal(t, "L898902C3674081221204159", p.MRZ)
	require.Error(t, p.FromFields("L8-9", "740812", "120415"))
	require.Error(t, p.FromFields("L89", "12.8.1974", "120415"))
}
