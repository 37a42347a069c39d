package federation

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

// fixture reads what other software has sent or served.
func fixture(t *testing.T, name string) []byte {
	t.Helper()
	dir := os.Getenv("WAXWING_FIXTURES")
	if dir == "" {
		dir = filepath.Join("..", "..", "shared", "fixtures")
	}
	data, err := os.ReadFile(filepath.Join(dir, "http", name))
	if os.IsNotExist(err) {
		if os.Getenv("CI") == "true" {
			t.Fatalf("the captured documents are missing: no http/%s in %s", name, dir)
		}
		t.Skipf("SKIPPED, NOT PASSED: no http/%s in %s; set WAXWING_FIXTURES to a folder with http/%s", name, dir, name)
	}
	require.NoError(t, err)
	return data
}

func TestCapturedActorIsRead(t *testing.T) {
	a, err := ParseActor(fixture(t, "gts-actor.json"), "https://a.test/users/alice")
	require.NoError(t, err)
	require.Equal(t, []string{"Person", "https://a.test/users/alice/inbox", "", "https://a.test/users/alice/main-key"}, []string{a.Type, a.Inbox, a.Shared, a.KeyID})
	_, err = ParseActor(fixture(t, "gts-main-key.json"), "https://a.test/users/alice/main-key")
	require.ErrorIs(t, err, errActor, "a key's own document is no actor")
}

func TestCapturedActivitiesAreIgnored(t *testing.T) {
	for name, actor := range map[string]string{
		"gotosocial-POST-b-test-users-bob-inbox.http": "https://a.test/users/alice",
		"node-POST-b-test-users-bob-inbox.http":       "https://fed.test/users/bot",
	} {
		_, body, _ := bytes.Cut(fixture(t, name), []byte("\r\n\r\n"))
		in, err := parseActivity(bytes.TrimSpace(body))
		require.NoError(t, err, name)
		require.Equal(t, actor, in.actor)
		require.False(t, in.ours)
	}
}
