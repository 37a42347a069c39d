package device

import (
	"bytes"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/waxwing-dm/waxwing/mls"
)

// solo is a group of one.
func solo(t testing.TB, random *rand.ChaCha8) *mls.Group {
	signer, err := mls.GenerateSignatureKey(suite, random)
	require.NoError(t, err)
	g, err := mls.NewGroup(random, mls.GroupParams{
		Suite: suite, GroupID: bytes.Repeat([]byte{7}, groupIDSize), Signer: signer, Credential: mls.BasicCredential([]byte("https://a.example/users/alice")),
		Capabilities: capabilities(), Lifetime: mls.Lifetime{NotAfter: 1 << 40},
	})
	require.NoError(t, err)
	return g
}

func TestSealedGroup(t *testing.T) {
	random := rand.NewChaCha8([32]byte{1})
	g := solo(t, random)
	sealed, err := sealGroup(random, g)
	require.NoError(t, err)
	keys := [][]byte{make([]byte, 32), g.LeafKey()}
	in, err := openSealed(sealed, g.GroupID(), 0, keys)
	require.NoError(t, err)
	require.Equal(t, g.EpochAuthenticator()[:8], in.authenticator[:])
	_, err = mls.ParseMessage(in.groupInfo)
	require.NoError(t, err)
	require.Equal(t, byte(4), sealed[2], "keys for four")
	require.Len(t, sealed, 3+4*sealedEntry+1024+16, "padded")
	for n := range sealed {
		_, err := openSealed(sealed[:n], g.GroupID(), 0, keys)
		require.Error(t, err, "cut to %d bytes", n)
	}
	for i := range sealed {
		bad := bytes.Clone(sealed)
		bad[i] ^= 1
		_, err := openSealed(bad, g.GroupID(), 0, keys)
		if err == nil {
			require.True(t, i >= 3+sealedEntry && i < 3+4*sealedEntry, "byte %d", i) // a key that nobody has
		}
	}
	for name, open := range map[string]func() (inside, error){
		"trailing byte":  func() (inside, error) { return openSealed(append(bytes.Clone(sealed), 0), g.GroupID(), 0, keys) },
		"another group":  func() (inside, error) { return openSealed(sealed, bytes.Repeat([]byte{8}, groupIDSize), 0, keys) },
		"another epoch":  func() (inside, error) { return openSealed(sealed, g.GroupID(), 1, keys) },
		"another device": func() (inside, error) { return openSealed(sealed, g.GroupID(), 0, keys[:1]) },
		"no device":      func() (inside, error) { return openSealed(sealed, g.GroupID(), 0, nil) },
		"too large":      func() (inside, error) { return openSealed(make([]byte, maxSubmitted+1), g.GroupID(), 0, keys) },
		"too many keys": func() (inside, error) {
			return openSealed(append([]byte{1, 255, 255}, make([]byte, 600<<10)...), g.GroupID(), 0, keys)
		},
	} {
		_, err := open()
		require.Error(t, err, name)
	}
	for name, bad := range map[string][]byte{
		"empty": nil, "no group info": make([]byte, infoHead), "longer than it is": append(make([]byte, infoHead-4), 0, 0, 0, 9, 1),
		"4 GiB": append(make([]byte, infoHead-4), 255, 255, 255, 255), "something behind it": append(in.marshal(), 1),
	} {
		_, err := parseInside(bad)
		require.Error(t, err, name)
	}
	require.Equal(t, []int{4, 4, 16, 64, 256, 512}, []int{sealedKeys(1), sealedKeys(4), sealedKeys(5), sealedKeys(17), sealedKeys(65), sealedKeys(257)})
	none, err := sealFor(random, g, maxSubmitted-len(sealed)+1)
	require.NoError(t, err)
	require.Nil(t, none, "what would be too large to submit is left out")
}

func FuzzOpenSealed(f *testing.F) {
	random := rand.NewChaCha8([32]byte{1})
	g := solo(f, random)
	sealed, err := sealGroup(random, g)
	require.NoError(f, err)
	f.Add(sealed, []byte{})
	f.Add([]byte{1, 0, 0}, inside{ticket: make([]byte, 32), groupInfo: []byte{1}}.marshal())
	f.Fuzz(func(t *testing.T, b, plain []byte) {
		if _, err := openSealed(b, g.GroupID(), 0, [][]byte{g.LeafKey()}); err == nil && len(b) < 3+sealedEntry {
			t.Fatal("opened without a key")
		}
		in, err := parseInside(plain)
		if err == nil && (len(in.ticket) != ticketSize || len(in.groupInfo) == 0) {
			t.Fatal("nothing is inside")
		}
	})
}
