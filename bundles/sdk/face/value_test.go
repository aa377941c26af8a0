package face_test

import (
	"encoding/hex"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sspemu/sspemu/bundles/sdk/face"
)

func TestValue(t *testing.T) {
	v := face.Object()
	v.Set("name", face.Text("a\"b"))
	v.Set("n", face.Number(-300))
	v.Set("on", face.Truth(true))
	v.Set("raw", face.List(face.Octets([]byte{0xAB}), face.Object()))
	require.Equal(t, `{"name":"a\"b","n":-300,"on":true,"raw":["AB",{}]}`+"\n", string(v.JSON()))
	require.Equal(t, "a4"+"616e"+"39012b"+"626f6e"+"f5"+"63726177"+"82"+"41ab"+"a0"+"646e616d65"+"63612262", hex.EncodeToString(v.CBOR()))
}
