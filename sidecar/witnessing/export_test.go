package witnessing

import (
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/waxwing-dm/waxwing/internal/sqlite"
	"github.com/waxwing-dm/waxwing/transparency/witness"
)

// OpenStore is the store alone, on disk.
func OpenStore(t *testing.T, path string) witness.Store {
	db, err := sqlite.Open(filepath.Clean(path), schema)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, db.Close()) })
	return store{db}
}

const MaxLogs = maxLogs

func ParseDiscovery(document []byte, instance string) (key, url string, err error) {
	p, err := parseDiscovery(document, instance)
	return p.Key, p.url, err
}

func ParseBundle(data []byte, count int) ([][]byte, error) { return parseBundle(data, count) }
