package keydir

var FirstOf = firstOf
