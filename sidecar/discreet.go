package sidecar

import (
	"context"
	"log/slog"
	"regexp"
)

// discreet takes out of every line of the log what may be people and conversations: whatever follows an origin, and names before
// hosts. Those who log have taken care already; what is in an error that came from far below is nobody's to promise.
type discreet struct{ slog.Handler }

func (d discreet) Handle(ctx context.Context, r slog.Record) error {
	clean := slog.NewRecord(r.Time, r.Level, withoutNames(r.Message), r.PC)
	r.Attrs(func(a slog.Attr) bool {
		clean.AddAttrs(discreetAttr(a))
		return true
	})
	return d.Handler.Handle(ctx, clean)
}

func (d discreet) WithAttrs(attrs []slog.Attr) slog.Handler {
	clean := make([]slog.Attr, len(attrs))
	for i, a := range attrs {
		clean[i] = discreetAttr(a)
	}
	return discreet{d.Handler.WithAttrs(clean)}
}

func (d discreet) WithGroup(name string) slog.Handler { return discreet{d.Handler.WithGroup(name)} }

func discreetAttr(a slog.Attr) slog.Attr {
	switch v := a.Value.Resolve(); v.Kind() {
	case slog.KindString, slog.KindAny:
		return slog.String(a.Key, withoutNames(v.String()))
	case slog.KindGroup:
		var inside []any
		for _, b := range v.Group() {
			inside = append(inside, discreetAttr(b))
		}
		return slog.Group(a.Key, inside...)
	default:
		return slog.Attr{Key: a.Key, Value: v}
	}
}

var (
	belowOrigin = regexp.MustCompile(`(https?://[^/\s"]+)/[^\s":]*`)
	beforeHost  = regexp.MustCompile(`@?[\w.~+-]+@([\w-]+(\.[\w-]+)+)`)
)

func withoutNames(text string) string {
	return beforeHost.ReplaceAllString(belowOrigin.ReplaceAllString(text, "$1/…"), "…@$1")
}

// nameless is the text of an error without what may be people and conversations.
func nameless(err error) string { return withoutNames(err.Error()) }
