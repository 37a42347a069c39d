package mls

import (
	"flag"
	"fmt"
	"os"
	"slices"
	"sync"
	"testing"
)

// tally counts what ran, for the summary after all tests. go test shows it with -v, or when it is run inside this folder.
var tally = struct {
	sync.Mutex
	vectors  map[string]*vectorTally
	refusals map[string]int // inputs refused by each numbered check
}{vectors: map[string]*vectorTally{}, refusals: map[string]int{}}

type vectorTally struct{ passed, failed, skipped, cases int }

func TestMain(m *testing.M) {
	code := m.Run()
	printTally()
	if missing := unbroken(); code == 0 && everything() && len(missing) > 0 {
		fmt.Printf("refusals: all tests have run, and nothing was refused by %v\n", missing)
		code = 1
	}
	os.Exit(code)
}

// everything says whether no test was left out.
func everything() bool {
	for _, name := range []string{"run", "skip", "list", "fuzz", "fuzzworker"} {
		if f := flag.Lookup("test." + name); f != nil && f.Value.String() != f.DefValue {
			return false
		}
	}
	return true
}

func printTally() {
	tally.Lock()
	defer tally.Unlock()
	var files []string
	for file := range tally.vectors {
		files = append(files, file)
	}
	slices.Sort(files)
	var all vectorTally
	for _, file := range files {
		v := tally.vectors[file]
		fmt.Printf("vectors: %-36s %3d of %3d cases passed, %d failed, %d skipped\n", file, v.passed, v.cases, v.failed, v.skipped)
		all.passed, all.failed, all.skipped, all.cases = all.passed+v.passed, all.failed+v.failed, all.skipped+v.skipped, all.cases+v.cases
	}
	if len(files) > 0 {
		fmt.Printf("vectors: %2d of %d files: %d of %d cases passed, %d failed, %d skipped\n",
			len(files), len(vectorCases), all.passed, all.cases, all.failed, all.skipped)
	}
	inputs := 0
	for _, n := range tally.refusals {
		inputs += n
	}
	if inputs > 0 {
		fmt.Printf("refusals: %d invalid inputs, each refused by the check it breaks, of %d checks\n", inputs, len(tally.refusals))
	}
}
