package main

import (
	"fmt"
	"strings"
	"unicode"
)

// plain makes text from others safe to show in a terminal: what would move the cursor, colour, or reverse the order of what
// stands around it is shown as what it is.
func plain(text string) string {
	var b strings.Builder
	for _, r := range text {
		if r == '\t' || !unicode.IsControl(r) && !unicode.Is(unicode.Cf, r) && r != unicode.ReplacementChar && r != '\u2028' && r != '\u2029' {
			b.WriteRune(r)
		} else {
			fmt.Fprintf(&b, "\\u{%x}", r)
		}
	}
	return b.String()
}

// lines is plain for text of several lines: those after the first are indented, so that none can look like another message.
func lines(text, indent string) string {
	parts := strings.Split(strings.ReplaceAll(text, "\r\n", "\n"), "\n")
	for i := range parts {
		parts[i] = plain(parts[i])
	}
	return strings.Join(parts, "\n"+indent)
}
