package mls

import (
	"crypto/rand"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
)

// Every check of the page spec/mls-checks.md has subtests whose names begin with its number: one input each that is invalid in one
// way. go test -run 'Test.*/M37' runs those of one check.

// requireCheck expects the refusal by the check that the subtest is named after, in the words of the page, so that neither a test
// can pass because something else was wrong nor a number come to mean something else.
func requireCheck(t *testing.T, err error) {
	t.Helper()
	names := checkInName.FindAllStringSubmatch(t.Name(), -1)
	require.NotEmpty(t, names, "the subtest is not named after a check")
	check := names[len(names)-1][1]
	row := checkPage()[check]
	require.NotEmpty(t, row.words, "no check %s on the page", check)
	var inv *InvalidError
	require.ErrorAs(t, err, &inv)
	require.Regexp(t, row.pattern(), inv.Rule, "refused by another check than %s", check)
	tally.Lock()
	tally.refusals[check]++
	tally.Unlock()
}

var (
	checkInName  = regexp.MustCompile(`/(M\d+)_`)
	checkLiteral = regexp.MustCompile(`^(M\d+) .`)
)

type checkRow struct{ words, tests string }

// pattern of the words, in which %d and %s stand for what was found.
func (r checkRow) pattern() string {
	words := regexp.QuoteMeta(r.words)
	return "^" + strings.NewReplacer("%d", `\d+`, "%s", ".+", "%v", ".+").Replace(words) + "$"
}

// checkPage is the table of spec/mls-checks.md by number.
var checkPage = sync.OnceValue(func() map[string]checkRow {
	page, err := os.ReadFile("../spec/mls-checks.md")
	if err != nil {
		panic(err)
	}
	rows := map[string]checkRow{}
	for _, row := range regexp.MustCompile(`(?m)^\| (M\d+) \| (.*?) \| (.*?) \|$`).FindAllStringSubmatch(string(page), -1) {
		if _, twice := rows[row[1]]; twice {
			panic("check " + row[1] + " stands twice on the page")
		}
		rows[row[1]] = checkRow{row[2], row[3]}
	}
	return rows
})

// A namedBreach is a subtest that is named after a check, as the source has it.
type namedBreach struct{ test, check, name string }

// breach is a subtest of one input, which has been refused with err.
func breach(t *testing.T, name string, err error) {
	t.Helper()
	t.Run(name, func(t *testing.T) {
		t.Helper()
		requireCheck(t, err)
	})
}

// namedBreaches are the string literals of test functions that name a check.
func namedBreaches(t *testing.T) (list []namedBreach) {
	files, err := filepath.Glob("*_test.go")
	require.NoError(t, err)
	for _, file := range files {
		tree, err := parser.ParseFile(token.NewFileSet(), file, nil, 0)
		require.NoError(t, err)
		for _, d := range tree.Decls {
			f, ok := d.(*ast.FuncDecl)
			if !ok || !strings.HasPrefix(f.Name.Name, "Test") {
				continue
			}
			ast.Inspect(f.Body, func(n ast.Node) bool {
				if lit, ok := n.(*ast.BasicLit); ok && lit.Kind == token.STRING {
					if name, err := strconv.Unquote(lit.Value); err == nil && checkLiteral.MatchString(name) {
						list = append(list, namedBreach{f.Name.Name, checkLiteral.FindStringSubmatch(name)[1], name})
					}
				}
				return true
			})
		}
	}
	return list
}

// minBreaches is the number of invalid inputs below which this suite is not to fall.
const minBreaches = 300

// TestEveryCheckIsBroken: each check of the page has a subtest with its number, in a test that its row names; no two subtests of a
// test have one name.
func TestEveryCheckIsBroken(t *testing.T) {
	broken, seen := map[string]map[string]bool{}, map[string]bool{}
	list := namedBreaches(t)
	for _, b := range list {
		require.False(t, seen[b.test+b.name], "%s has %q twice", b.test, b.name)
		seen[b.test+b.name] = true
		require.Contains(t, checkPage(), b.check, "%s breaks a check that is not on the page: %q", b.test, b.name)
		if broken[b.check] == nil {
			broken[b.check] = map[string]bool{}
		}
		broken[b.check][b.test] = true
	}
	for check, row := range checkPage() {
		found := false
		for _, name := range regexp.MustCompile(`Test\w+`).FindAllString(row.tests, -1) {
			found = found || broken[check][name]
		}
		if !found && !strings.HasPrefix(row.tests, "no test: ") {
			t.Errorf("%s (%s): none of %s has a subtest with that number", check, row.words, row.tests)
		}
	}
	require.GreaterOrEqual(t, len(list), minBreaches)
	t.Logf("%d named invalid inputs break %d of %d checks", len(list), len(broken), len(checkPage()))
}

// unbroken are the checks that should have refused something when all tests have run, and did not.
func unbroken() (list []string) {
	for check, row := range checkPage() {
		if tally.refusals[check] == 0 && !strings.HasPrefix(row.tests, "no test: ") {
			list = append(list, check)
		}
	}
	return list
}

// Other ways into the engine for what somebody signed: each checks the same.

// private is a handshake of p as a PrivateMessage.
func (p *party) private(kind ContentType, change func(*authenticatedContent)) []byte {
	g := reloadedOf(p)
	a := g.content(kind, nil)
	a.wireFormat = WirePrivateMessage
	if kind == ContentCommit {
		a.confirmationTag = make([]byte, g.suite.nh)
	}
	change(a)
	a.sign(p.signer, marshal(&g.context))
	m, err := g.frame(rand.Reader, a, nil)
	require.NoError(p.t, err)
	return m
}

func reloadedOf(p *party) *Group {
	g, err := UnmarshalGroup(p.g.Marshal())
	require.NoError(p.t, err)
	g.UsePSKs(p.psks)
	return g
}

// aside is p with a state of its own: what is tried with it leaves no trace in p.
func (p *party) aside() *party {
	return &party{t: p.t, name: p.name, suite: p.suite, signer: p.signer, psks: p.psks, leaves: p.leaves, g: reloadedOf(p)}
}

// observer of the group that p is in.
func (p *party) observer() *Observer {
	info, err := p.g.GroupInfo(true)
	require.NoError(p.t, err)
	o, err := Observe(parsed(p.t, info), nil)
	require.NoError(p.t, err)
	return o
}

// refusedCommit: a commit of these proposals by from is refused by everybody who sees it, in every framing, whether it carries the
// proposals or names them; also by who only watches.
func refusedCommit(t *testing.T, from, to *party, list ...Proposal) {
	t.Helper()
	commit := &commit{proposals: byValue(list...)}
	t.Run("in public", func(t *testing.T) {
		_, err := to.aside().process(forgeCommit(from, commit))
		requireCheck(t, err)
	})
	t.Run("in private", func(t *testing.T) {
		_, err := to.aside().process(from.private(ContentCommit, func(a *authenticatedContent) { a.content.commit = commit }))
		requireCheck(t, err)
	})
	t.Run("seen from outside", func(t *testing.T) {
		_, err := to.observer().Process(parsed(t, forgeCommit(from, commit)), testNow)
		requireCheck(t, err)
	})
}

// refusedReferences is refusedCommit for proposals that proposer sent before and from names.
func refusedReferences(t *testing.T, proposer, from, to *party, list ...Proposal) {
	t.Helper()
	t.Run("by reference", func(t *testing.T) {
		requireCheck(t, commitOfReferences(t, proposer, from, to.aside(), list...))
	})
}

func commitOfReferences(t *testing.T, proposer, from, to *party, list ...Proposal) error {
	t.Helper()
	named := new(commit)
	for i := range list {
		m := forgeMessage(proposer, ContentProposal, func(a *authenticatedContent) { a.content.proposal = &list[i] })
		if _, err := to.process(m); err != nil {
			return err
		}
		named.proposals = append(named.proposals, proposalOrRef{ref: parsed(t, m).public.ref(to.g.suite)})
	}
	_, err := to.process(forgeCommit(from, named))
	return err
}

// refusedToMake: nor do we make such a commit ourselves, and what we tried leaves us as we were.
func refusedToMake(t *testing.T, by *party, list ...Proposal) {
	t.Helper()
	t.Run("of our own", func(t *testing.T) {
		p := by.aside()
		before := p.g.Marshal()
		_, err := p.g.Commit(rand.Reader, CommitParams{Proposals: list, Now: testNow})
		requireCheck(t, err)
		p.requireSame(before)
	})
}
