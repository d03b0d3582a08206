package node

import (
	"testing"
	"testing/synctest"
	"time"
)

// Who has been slow for long and loses its link for a moment is waited for: what
// counts is for how long it cannot be reached.
func TestALinkThatIsLostForAMomentMakesNobodyMissing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var a awayTime
		time.Sleep(2 * awayFor) // it is asked, and does not answer
		if a.tooLong(false) {
			t.Error("it is given up at once")
		}
		time.Sleep(awayFor / 2)
		if a.tooLong(true) || a.tooLong(false) {
			t.Error("it was there a moment ago")
		}
		time.Sleep(awayFor + 1)
		if !a.tooLong(false) {
			t.Error("it is waited for longer than it should be")
		}
	})
}
