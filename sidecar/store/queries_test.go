package store_test

import (
	"database/sql"
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

var (
	statement = regexp.MustCompile(`^(SELECT|INSERT|UPDATE|DELETE) `)
	scan      = regexp.MustCompile(`^SCAN (\w+)`)
	counted   = regexp.MustCompile(`^SELECT (count\(\*\)|created) FROM`)                              // for the operator, now and then: an index is read through, but no row
	small     = map[string]bool{"json_each": true, "l": true, "(subquery-1)": true, "CONSTANT": true} // what a caller bounds, and one row that is of no table
	// The log's map is read whole when the log is opened.
	atStart = "SELECT idx, entry FROM log_entry WHERE opening IS NOT NULL ORDER BY idx"
)

// statements are those of the package's source.
func statements(t *testing.T) (all []string) {
	files, err := filepath.Glob("*.go")
	require.NoError(t, err)
	for _, file := range files {
		if strings.HasSuffix(file, "_test.go") {
			continue
		}
		parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, 0)
		require.NoError(t, err)
		ast.Inspect(parsed, func(n ast.Node) bool {
			if lit, ok := n.(*ast.BasicLit); ok && lit.Kind == token.STRING {
				text, err := strconv.Unquote(lit.Value)
				require.NoError(t, err)
				if statement.MatchString(text) {
					all = append(all, text)
				}
			}
			return true
		})
	}
	return all
}

// TestEveryStatementHasItsIndex: no table is read through, and nothing but what a caller bounds is sorted.
func TestEveryStatementHasItsIndex(t *testing.T) {
	_, dir := fresh(t)
	db, err := sql.Open("sqlite3", "file:"+filepath.Join(dir, "waxwingd.db"))
	require.NoError(t, err)
	defer db.Close()
	all := statements(t)
	require.Greater(t, len(all), 40)
	for _, text := range all {
		if strings.HasSuffix(text, "device IN (") { // the rest of it is another literal, with a plan of its own
			text += "'x')"
		}
		rows, err := db.Query("EXPLAIN QUERY PLAN "+text, make([]any, parameters(text))...)
		require.NoError(t, err, text)
		for rows.Next() {
			var id, parent, unused int
			var step string
			require.NoError(t, rows.Scan(&id, &parent, &unused, &step))
			if m := scan.FindStringSubmatch(step); m != nil {
				newest := strings.Contains(text, "idx DESC LIMIT 1") || strings.Contains(text, "max(idx)") // the log's end, read backwards
				whole := counted.MatchString(text) && strings.Contains(step, "USING COVERING INDEX")
				require.True(t, small[m[1]] || newest || whole || text == atStart, "%s\n%s", step, text)
			}
			require.NotContains(t, step, "TEMP B-TREE", text)
		}
		require.NoError(t, rows.Close())
	}
}

// parameters counts ? and the highest ?N.
func parameters(text string) (n int) {
	for _, m := range regexp.MustCompile(`\?(\d*)`).FindAllStringSubmatch(text, -1) {
		if m[1] == "" {
			n++
		} else if at, _ := strconv.Atoi(m[1]); at > n {
			n = at
		}
	}
	return n
}
