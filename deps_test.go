// Package waxwing_test holds what is true of the house as a whole: who may import whom, and what the sidecar's binary must not contain.
package waxwing_test

import (
	"bytes"
	"encoding/json"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"sort"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

const module = "github.com/waxwing-dm/waxwing/"

// A room names the packages of this module that a package may import. A package without an entry is a mistake: give it a
// room on purpose.
//
// The reasons, from the ground up:
//
//   - mls, transparency and keydir are rules. They know bytes and values, so that everything which must be right can be
//     tested without a server, and so that mls could be somebody else's.
//   - device holds the private keys, federation talks to strangers. Neither knows the other: what they agree on is spec/.
//     A key cannot leak into a place that the code holding it cannot name.
//   - sidecar uses of mls only what is public; TestSidecarCannotDecrypt looks at the linked binary for that.
//   - stores import the domains whose interfaces they fill, never the other way round.
//   - internal packages stand on the ground floor; they import nothing above them.
//   - sidecar/admin is the only one that links Prometheus: the sandbox, and so the agent's binary, do without.
//   - sandbox is both wings in one process and therefore on top; nobody but cmd/waxwing imports it.
//
// mls/interop is a module of its own, so that gRPC is not in the go.mod of whoever imports mls. It is not listed here: its own
// test says that mls is all it knows of this house. federation/jsonld is another: tests only, over a JSON-LD processor.
var rooms = map[string][]string{
	"mls":                              nil,
	"mls/tsmls":                        nil, // tests only: talks to another implementation
	"transparency":                     {"transparency/prefixtree", "transparency/vrf"},
	"transparency/vrf":                 nil,
	"transparency/prefixtree":          nil,
	"transparency/sequencer":           {"transparency", "transparency/prefixtree", "transparency/vrf", "keydir"},
	"transparency/sequencer/storetest": {"transparency/sequencer"},
	"transparency/witness":             {"transparency"},
	"transparency/witness/storetest":   {"transparency/witness"},
	"transparency/hostile":             nil, // tests only: a log that lies
	"keydir":                           {"transparency"},

	"internal/receipt":    nil,
	"internal/strictjson": nil,
	"internal/problem":    {"internal/strictjson"},
	"internal/safehttp":   nil,
	"internal/sdnotify":   nil,
	"internal/sqlite":     nil,
	"internal/clientapi":  {"internal/problem", "internal/safehttp", "internal/strictjson"},

	"federation":               {"transparency", "federation/httpsig", "internal/problem", "internal/safehttp", "internal/strictjson"},
	"federation/httpsig":       {"internal/problem"},
	"federation/fedify":        nil, // tests only: talks to another implementation
	"federation/hub":           {"internal/receipt"},
	"federation/hub/storetest": {"federation/hub", "internal/receipt"},

	"device":           {"mls", "keydir", "transparency", "internal/receipt", "internal/strictjson"},
	"device/histories": nil, // tests only: devices and hubs in random histories

	"sidecar/store":           {"federation", "federation/hub", "transparency/sequencer", "internal/sqlite", "internal/receipt"},
	"sidecar/admin":           {"sidecar"},
	"sidecar/internal/rsakey": nil,
	"sidecar/sidecartest":     {"sidecar/internal/rsakey"}, // tests only: RSA keys from a stock
	"sidecar/settings":        {"federation"},
	"sidecar/witnessing":      {"transparency", "transparency/witness", "internal/problem", "internal/safehttp", "internal/sqlite", "internal/strictjson"},
	"sidecar": {"sidecar/internal/rsakey", "sidecar/store", "sidecar/witnessing", "federation", "federation/httpsig", "federation/hub", "transparency", "transparency/sequencer", "transparency/vrf",
		"transparency/witness",
		"keydir", "mls", "internal/clientapi", "internal/problem", "internal/receipt", "internal/safehttp", "internal/sqlite", "internal/strictjson"},
	"agent/store":                     {"agent/store/internal/passphrase", "device", "internal/sqlite"},
	"agent/store/internal/passphrase": nil,
	"agent/store/storetest":           {"agent/store/internal/passphrase"}, // tests only: makes passphrases cheap
	"agent/client":                    {"internal/problem"},
	"agent":                           {"agent/store", "device", "transparency", "internal/clientapi", "internal/problem", "internal/safehttp", "internal/strictjson"},
	"agent/localapi":                  {"agent", "agent/client", "device", "internal/problem", "internal/safehttp", "internal/sqlite", "internal/strictjson"},

	"threatmodel": nil, // words, and a test that holds them to what there is

	"sandbox/partition": nil, // tests only: the real programs, cut off from each other

	"sandbox":      {"sidecar", "sidecar/witnessing", "transparency", "agent", "agent/client", "agent/localapi", "internal/problem"},
	"cmd/waxwing":  {"agent", "agent/client", "agent/localapi", "agent/store", "sandbox", "internal/problem", "internal/receipt", "keydir", "transparency"},
	"cmd/waxwingd": {"sidecar", "sidecar/admin", "sidecar/settings", "sidecar/witnessing", "internal/sdnotify", "transparency"},
}

// pure packages get time, randomness, network and disk from outside.
var pure = []string{"mls", "transparency", "transparency/prefixtree", "transparency/vrf", "keydir", "device", "internal/receipt"}

var outside = map[string]bool{"net": true, "net/http": true, "database/sql": true, "os": true, "log": true, "log/slog": true, "os/exec": true, "syscall": true}

type listed struct {
	ImportPath string
	Imports    []string
	Standard   bool
}

func list(t *testing.T, args ...string) []listed {
	t.Helper()
	out, err := exec.Command("go", append([]string{"list", "-json=ImportPath,Imports,Standard"}, args...)...).Output()
	require.NoError(t, err, "go list %s", strings.Join(args, " "))
	var all []listed
	for dec := json.NewDecoder(bytes.NewReader(out)); ; {
		var p listed
		if err := dec.Decode(&p); err == io.EOF {
			return all
		} else {
			require.NoError(t, err)
		}
		all = append(all, p)
	}
}

func TestImports(t *testing.T) {
	seen := map[string]bool{}
	for _, p := range list(t, "./...") {
		name := strings.TrimPrefix(p.ImportPath, module)
		if p.ImportPath+"/" == module {
			continue // this folder: tests only
		}
		seen[name] = true
		allowed, ok := rooms[name]
		if !ok {
			t.Errorf("%s stands in no room: add it to the picture on purpose", name)
			continue
		}
		for _, imp := range p.Imports {
			if dep, ours := strings.CutPrefix(imp, module); ours && !contains(allowed, dep) {
				t.Errorf("%s imports %s, which the picture does not allow", name, dep)
			}
			if contains(pure, name) && outside[imp] {
				t.Errorf("%s imports %s: it takes time, randomness, network and disk from outside", name, imp)
			}
		}
	}
	for name := range rooms {
		if !seen[name] {
			t.Errorf("the picture has a room %s that does not exist", name)
		}
	}
}

// TestWingsApart follows the imports all the way: nothing that the sidecar links holds private keys, nothing that the agent links
// speaks with other servers as one, and a witness knows of logs and of nothing that is said.
func TestWingsApart(t *testing.T) {
	for start, never := range map[string][]string{
		"./cmd/waxwingd":       {"sidecar/sidecartest", "device", "agent", "agent/store", "agent/client", "agent/localapi", "sandbox"},
		"./agent/localapi":     {"agent/store/storetest", "federation", "federation/httpsig", "federation/hub", "sidecar", "sidecar/store", "sandbox"},
		"./sidecar/witnessing": {"mls", "device", "federation", "federation/httpsig", "federation/hub", "keydir", "sidecar", "sidecar/store", "transparency/sequencer"},
		"./cmd/waxwing":        {"agent/store/storetest", "sidecar/sidecartest", "sidecar/admin"}, // it has a sandbox in it, and nobody to read metrics
		"./device":             {"federation", "federation/httpsig", "federation/hub", "sidecar", "sidecar/store", "agent"},
	} {
		for _, p := range list(t, "-deps", start) {
			if name, ours := strings.CutPrefix(p.ImportPath, module); ours && contains(never, name) {
				t.Errorf("%s reaches %s", start, name)
			}
		}
	}
}

// TestSidecarCannotDecrypt builds waxwingd and reads its symbol table. The linker keeps a function only if something can
// call it, so a symbol that is absent is code that cannot run.
func TestSidecarCannotDecrypt(t *testing.T) {
	never := []string{
		module + "device",
		module + "agent",
		module + "mls.(*Group)",
		module + "mls.(*KeyPackageSecret)",
		module + "mls.(*SignatureKey)",
		module + "mls.(*secretTree)",
		module + "mls.JoinWelcome",
		module + "mls.LoadGroup",
		module + "mls.(*suite).openWithLabel",
		"github.com/cloudflare/circl/hpke.(*Receiver)",
		"github.com/cloudflare/circl/hpke.(*encdecContext)",
	}
	symbols := func(pkg string) string {
		bin := filepath.Join(t.TempDir(), "bin")
		build := exec.Command("go", "build", "-o", bin, pkg)
		build.Stderr = os.Stderr
		require.NoError(t, build.Run(), "building %s", pkg)
		out, err := exec.Command("go", "tool", "nm", bin).Output()
		require.NoError(t, err)
		return string(out)
	}
	sidecar := symbols("./cmd/waxwingd")
	require.Contains(t, sidecar, module+"mls.ParseMessage", "the table has the symbols of mls that are linked")
	agent := symbols("./cmd/waxwing")
	for _, name := range never {
		if strings.Contains(sidecar, name) {
			t.Errorf("waxwingd contains %s: %s", name, firstLines(sidecar, name, 3))
		}
		// The control: a name that is in neither binary would make the test above say nothing.
		if !strings.Contains(agent, name) {
			t.Errorf("waxwing does not contain %s either: the name is out of date", name)
		}
	}
}

func firstLines(symbols, name string, n int) string {
	var found []string
	for line := range strings.Lines(symbols) {
		if strings.Contains(line, name) && len(found) < n {
			f := strings.Fields(line)
			found = append(found, f[len(f)-1])
		}
	}
	sort.Strings(found)
	return strings.Join(found, ", ")
}

func contains(list []string, s string) bool {
	for _, x := range list {
		if x == s {
			return true
		}
	}
	return false
}
