package witnessing_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/waxwing-dm/waxwing/sidecar/witnessing"
)

func FuzzDiscovery(f *testing.F) {
	const instance = "https://a.example"
	labels, _, key := newKeys("a.example", 10)
	good := must(json.Marshal(discovery(instance, "a.example", labels, key)))
	f.Add(good)
	f.Add(good[1:])
	f.Add([]byte(`{"version":1,"instance":"https://a.example","log":{}}`))
	f.Fuzz(func(t *testing.T, document []byte) {
		got, url, err := witnessing.ParseDiscovery(document, instance)
		if err == nil {
			require.True(t, strings.HasPrefix(got, "a.example/waxwing/log/"))
			require.True(t, strings.HasPrefix(url, instance+"/"))
		}
	})
}

func FuzzBundle(f *testing.F) {
	log := &forger{}
	log.pad(3)
	f.Add(must(log.Tile(ctx, "tile/entries/000.p/3")), 3)
	f.Add(must(log.Tile(ctx, "tile/entries/000.p/3")), 2)
	f.Add([]byte{}, 1)
	f.Fuzz(func(t *testing.T, data []byte, count int) {
		if count < 1 || count > 256 {
			return
		}
		entries, err := witnessing.ParseBundle(data, count)
		if err != nil {
			return
		}
		require.Len(t, entries, count)
		for i, e := range entries {
			require.Equal(t, data[i*244+2:][:242], e)
		}
	})
}
