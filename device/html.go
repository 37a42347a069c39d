package device

import (
	"html"
	"strings"
)

// htmlOf renders plain text as HTML that says the same and nothing else.
func htmlOf(text string) string {
	return "<p>" + strings.ReplaceAll(html.EscapeString(text), "\n", "<br>") + "</p>"
}

// textOf renders HTML as plain text. It is no HTML parser: tags vanish, those that end a line end a line, entities are resolved once. Its
// result is shown as text, so what it gets wrong looks odd and does nothing.
func textOf(markup string) string {
	var out strings.Builder
	for markup != "" {
		i := strings.IndexByte(markup, '<')
		if i < 0 {
			out.WriteString(html.UnescapeString(markup))
			break
		}
		out.WriteString(html.UnescapeString(markup[:i]))
		end := strings.IndexByte(markup[i:], '>')
		if end < 0 {
			break // an unfinished tag hides the rest, as a browser would have it
		}
		out.WriteString(lineEnd(markup[i+1 : i+end]))
		markup = markup[i+end+1:]
	}
	return strings.TrimRight(out.String(), "\n")
}

// lineEnd is what a tag leaves in the text.
func lineEnd(tag string) string {
	name, _, _ := strings.Cut(strings.TrimSpace(tag), " ")
	switch strings.ToLower(strings.TrimSuffix(name, "/")) {
	case "br", "/p", "/div", "/li", "/blockquote", "/pre", "/h1", "/h2", "/h3":
		return "\n"
	}
	return ""
}
