package test

import (
	"slices"
	"testing"
)

// The checker itself is checked: what it calls wrong, and what it does not.
func TestTheAccountFindsWhatBreaksThePromiseAndNothingElse(t *testing.T) {
	s := stream{"n", "1", "k"}
	for _, c := range []struct {
		name string
		said []outcome // in this order
		tell func(*account, *listener)
		want []string
	}{
		{"all is well", []outcome{taken, taken}, hearing(s, 0, 1), nil},
		{"an event comes twice", []outcome{taken}, hearing(s, 0, 0), []string{"l: n boot 1 key k numbers 0 to 0 came after 0"}},
		{"an event overtakes", []outcome{taken, taken}, hearing(s, 1, 0),
			[]string{"l: 1 of n boot 1 key k numbers 0 to 0 are missing without a gap", "l: n boot 1 key k numbers 0 to 0 came after 1"}},
		{"an event is missing", []outcome{taken, taken, taken}, hearing(s, 0, 2),
			[]string{"l: 1 of n boot 1 key k numbers 1 to 1 are missing without a gap"}},
		{"the last is missing", []outcome{taken, taken}, hearing(s, 0),
			[]string{"l: 1 of n boot 1 key k numbers 1 to 1 are missing at the end without a gap"}},
		{"nobody said it", []outcome{taken}, hearing(s, 0, 1), []string{"l: n boot 1 key k numbers 1 to 1 was never said"}},
		{"one of unknown outcome does not come", []outcome{taken, unknown, taken}, hearing(s, 0, 2), nil},
		{"one of unknown outcome comes", []outcome{taken, unknown, taken}, hearing(s, 0, 1, 2), nil},
		{"a refused one does not come", []outcome{taken, refused}, hearing(s, 0), nil},
		{"a refused one comes", []outcome{taken, refused}, hearing(s, 0, 1), []string{"n boot 1 key k numbers 1 to 1 came and was refused"}},
		{"a gap in its place", []outcome{taken, taken, taken}, func(_ *account, l *listener) {
			hearing(s, 0)(nil, l)
			l.gap("n", "missed", 1)
			hearing(s, 2)(nil, l)
		}, nil},
		{"gaps that tell of enough", []outcome{taken, taken, unknown, taken, taken}, func(_ *account, l *listener) {
			hearing(s, 0)(nil, l)
			l.gap("n", "missed", 1)
			l.gap("n", "expired", 1)
			hearing(s, 4)(nil, l)
		}, nil},
		{"gaps that tell of too little", []outcome{taken, taken, taken, taken, taken}, func(_ *account, l *listener) {
			hearing(s, 0)(nil, l)
			l.gap("n", "missed", 1)
			l.gap("n", "expired", 1)
			hearing(s, 4)(nil, l)
		}, []string{"l: 3 of n boot 1 key k numbers 1 to 3 are missing and gaps tell of 2"}},
		{"a gap of nobody knows how much", []outcome{taken, taken, taken, taken}, func(_ *account, l *listener) {
			l.gap("n", "missed", 1)
			l.gap("n", "reset", 0)
			hearing(s, 3)(nil, l)
		}, nil},
		{"a gap too early", []outcome{taken, taken, taken, taken}, func(_ *account, l *listener) {
			l.gap("n", "missed", 1)
			hearing(s, 0, 3)(nil, l)
		}, []string{"l: 2 of n boot 1 key k numbers 1 to 2 are missing without a gap"}},
		{"a gap too late", []outcome{taken, taken, taken}, func(_ *account, l *listener) {
			hearing(s, 0, 2)(nil, l)
			l.gap("n", "missed", 1)
		}, []string{"l: 1 of n boot 1 key k numbers 1 to 1 are missing without a gap"}},
		{"another node's gap", []outcome{taken}, func(_ *account, l *listener) { l.gap("m", "missed", 1) },
			[]string{"l: 1 of n boot 1 key k numbers 0 to 0 are missing at the end without a gap"}},
		{"a gap of whatever node", []outcome{taken}, func(_ *account, l *listener) { l.gap("", "overflow", 1) }, nil},
		{"a gap before it was said", []outcome{taken}, func(a *account, l *listener) {
			l.gap("n", "missed", 1)
			a.settle(s, a.say(s), taken)
		}, []string{"l: 1 of n boot 1 key k numbers 1 to 1 are missing at the end without a gap"}},
		{"it ends before the last", []outcome{taken, taken}, func(_ *account, l *listener) {
			hearing(s, 0)(nil, l)
			l.end()
		}, nil},
		{"it ends after something was missing", []outcome{taken, taken}, func(_ *account, l *listener) {
			hearing(s, 1)(nil, l)
			l.end()
		}, []string{"l: 1 of n boot 1 key k numbers 0 to 0 are missing without a gap"}},
	} {
		a := newAccount()
		l := a.listen("l", everything)
		l.heed()
		for _, o := range c.said {
			a.settle(s, a.say(s), o)
		}
		c.tell(a, l)
		if got := a.wrong(a.mark()); !slices.Equal(got, c.want) {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
	}
}

func hearing(s stream, numbers ...int) func(*account, *listener) {
	return func(_ *account, l *listener) {
		for _, n := range numbers {
			l.hear(s, n)
		}
	}
}

func TestAListenerHearsWhatItWantsAndNothingElse(t *testing.T) {
	a, mine, other := newAccount(), stream{"n", "1", "k"}, stream{"n", "1", "other"}
	l := a.listen("l", func(s stream) bool { return s == mine })
	l.heed()
	for _, s := range []stream{mine, other} {
		a.settle(s, a.say(s), taken)
	}
	if got := l.owes(a.mark()); len(got) != 1 {
		t.Errorf("%q, want one event missing", got)
	}
	l.hear(mine, 0)
	if got := a.wrong(a.mark()); len(got) > 0 {
		t.Errorf("%q, want nothing", got)
	}
	l.hear(other, 0)
	if got, want := a.wrong(a.mark()), "l: n boot 1 key other numbers 0 to 0 was for others"; len(got) != 1 || got[0] != want {
		t.Errorf("%q, want %q", got, want)
	}
}

func TestWhoBeginsToListenLateNeedNotHearWhatWasSaidBefore(t *testing.T) {
	s, a := stream{"n", "1", "k"}, newAccount()
	l := a.listen("l", everything)
	for range 5 {
		a.settle(s, a.say(s), taken)
	}
	l.hear(s, 1) // it may
	l.hear(s, 3)
	l.heed()
	a.settle(s, a.say(s), taken)
	a.settle(s, a.say(s), taken)
	l.hear(s, 6)
	if got, want := a.wrong(a.mark()), "l: 1 of n boot 1 key k numbers 5 to 5 are missing without a gap"; len(got) != 1 || got[0] != want {
		t.Errorf("%q, want %q", got, want)
	}
}
