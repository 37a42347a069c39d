package sandbox

import (
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// The search is only worth something if it finds what a leak would look like.
func TestSearchFinds(t *testing.T) {
	secret := "the \"heron\" lands at dawn, 7 o'clock"
	quoted, err := json.Marshal(secret)
	require.NoError(t, err)
	leaks := map[string]string{
		"plain":     "x" + secret + "y",
		"JSON":      `{"text":` + string(quoted) + `}`,
		"hex":       "00" + hex.EncodeToString([]byte(secret)),
		"HEX":       strings.ToUpper(hex.EncodeToString([]byte(secret))),
		"base64":    base64.StdEncoding.EncodeToString([]byte(secret)),
		"base64 +1": base64.StdEncoding.EncodeToString([]byte("a" + secret + "bc")),
		"base64 +2": base64.RawURLEncoding.EncodeToString([]byte("ab" + secret + "c")),
		"base64 +3": base64.StdEncoding.EncodeToString([]byte("abc" + secret)),
		"URL":       "/x?q=the+%22heron%22+lands+at+dawn%2C+7+o%27clock",
	}
	for name, leak := range leaks {
		dir := t.TempDir()
		require.NoError(t, os.MkdirAll(filepath.Join(dir, "deep"), 0o700))
		require.NoError(t, os.WriteFile(filepath.Join(dir, "deep", "file"), []byte(leak), 0o600))
		found, files, _, err := search(needles("secret", []byte(secret)), dir)
		require.NoError(t, err)
		require.Equal(t, 1, files)
		require.NotEmpty(t, found, "a leak as %s goes unseen", name)
	}
}

func TestSearchFindsPieceOfFile(t *testing.T) {
	data := []byte(strings.Repeat("0123456789abcdefghijklmnopqrstuvwxyz!", 4000))
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, "f"), data[100:len(data)/2], 0o600))
	found, _, _, err := search(fileNeedles("file", data), dir)
	require.NoError(t, err)
	require.NotEmpty(t, found)
}

func TestSearchIsQuietAboutOtherThings(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, "f"), []byte("nothing of the sort"), 0o600))
	found, files, size, err := search(needles("secret", []byte("the heron lands at dawn")), dir)
	require.NoError(t, err)
	require.Empty(t, found)
	require.Equal(t, 1, files)
	require.EqualValues(t, 19, size)
}
