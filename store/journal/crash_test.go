package journal

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"sync"
	"testing"

	"github.com/skeinmesh/skein/store"
	"github.com/skeinmesh/skein/store/storetest"
)

// seeds is how many seeds a test runs: more in a soak.
func seeds(t testing.TB, n int) int {
	if testing.Short() {
		n /= 4
	}
	if soak, err := strconv.Atoi(os.Getenv("SKEIN_SOAK")); err == nil {
		n *= soak
	}
	return n
}

func TestNothingAcknowledgedIsLostWhateverTheCrash(t *testing.T) {
	for seed := range seeds(t, 120) {
		t.Run(fmt.Sprint("Seed", seed), func(t *testing.T) {
			t.Parallel()
			oneLife(t, rand.New(rand.NewPCG(uint64(seed), 1)))
		})
	}
}

// oneLife lets a journal crash again and again between and within operations.
// Each group must be as the operations that were acknowledged left it, or as the
// one that was under way would have.
func oneLife(t *testing.T, rng *rand.Rand) {
	disk := storetest.NewDisk()
	cfg := small(disk)
	cfg.HoldSegments = 2
	models := make([]model, 1+rng.IntN(5))
	under := operation{} // what was under way when the power failed
	whose := -1
	for life := range 12 {
		disk.Start()
		if report, err := Verify(disk, cfg.Dir); life > 0 && !errors.Is(err, store.ErrNotFound) && !errors.Is(err, os.ErrNotExist) {
			if err != nil || report.Err() != nil {
				t.Fatalf("life %d: a crash looks like damage: %v, %v", life, err, report.Err())
			}
		}
		if rng.IntN(4) == 0 {
			disk.CrashAfter(1+rng.IntN(8), rng) // while it opens, or just after
		}
		j, err := Open(cfg)
		for err == nil {
			for n := range models {
				after := models[n]
				if n == whose {
					after = after.after(under)
				}
				var now model
				if now, err = either(j.Group(id(n)), models[n], after); err != nil {
					err = fmt.Errorf("group %d after %s under way for group %d: %w", n, under.kind, whose, err)
					break
				}
				models[n] = now
			}
			break
		}
		if errors.Is(err, storetest.ErrGone) {
			if j != nil {
				j.Close()
			}
			continue
		}
		if err != nil {
			if j != nil {
				j.Close()
			}
			t.Fatalf("life %d: %v", life, err)
		}
		whose = -1
		disk.CrashAfter(1+rng.IntN(150), rng)
		for step := 0; ; step++ {
			if step > 100 {
				break // it closes in peace, if the power lasts
			}
			n := rng.IntN(len(models))
			op := random(rng, models[n], uint64(life))
			if err := op.do(j.Group(id(n))); err != nil {
				if !errors.Is(err, store.ErrFailed) {
					t.Fatalf("life %d: %s: %v", life, op.kind, err)
				}
				whose, under = n, op
				break
			}
			models[n] = models[n].after(op)
			if err := models[n].check(j.Group(id(n))); err != nil && !errors.Is(err, storetest.ErrGone) {
				t.Fatalf("life %d, step %d, group %d after %s: %v", life, step, n, op.kind, err)
			}
		}
		j.Close()
		if rng.IntN(2) == 0 {
			disk.Crash(rng)
		} else {
			disk.Kill()
		}
	}
}

// Many groups at once share rounds; the power fails at any moment.
func TestNothingAcknowledgedIsLostAmongManyGroups(t *testing.T) {
	const groups = 16
	for seed := range seeds(t, 12) {
		rng := rand.New(rand.NewPCG(uint64(seed), 2))
		disk := storetest.NewDisk()
		cfg := small(disk)
		models := make([]model, groups)
		under := make([]operation, groups)
		for life := range 6 {
			disk.Start()
			j := open(t, cfg)
			for n := range models {
				var err error
				if models[n], err = either(j.Group(id(n)), models[n], models[n].after(under[n])); err != nil {
					t.Fatalf("seed %d, life %d, group %d after %s: %v", seed, life, n, under[n].kind, err)
				}
				under[n] = operation{}
			}
			disk.CrashAfter(20+rng.IntN(200), rng)
			var workers sync.WaitGroup
			for n := range models {
				rng := rand.New(rand.NewPCG(uint64(seed), uint64(life*groups+n)))
				workers.Go(func() {
					for {
						op := random(rng, models[n], uint64(life))
						if err := op.do(j.Group(id(n))); err != nil {
							under[n] = op
							return
						}
						models[n] = models[n].after(op)
					}
				})
			}
			workers.Wait()
			if !errors.Is(j.Err(), store.ErrFailed) {
				t.Fatalf("after a crash: %v, want ErrFailed", j.Err())
			}
			j.Close()
		}
	}
}
