// Command driver runs one library: `driver TRANSPORT DRIVER [WORD ...]`. Each line of standard input, `URL TOKEN`,
// opens it.
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"sync"
)

// drivers has the function of each library, by transport and name. A function returns when its library has ended and
// will not go on by itself.
var drivers = map[string]func(url, token string, words []string) error{}

var printing sync.Mutex

func say(saw string, members map[string]any) {
	line := map[string]any{"saw": saw}
	for name, value := range members {
		line[name] = value
	}
	text, _ := json.Marshal(line)
	printing.Lock()
	defer printing.Unlock()
	fmt.Printf("%s\n", text)
}

func opened()                 { say("open", nil) }
func message(data, id string) { say("message", map[string]any{"data": data, "id": id}) }
func failed(err error)        { say("error", map[string]any{"text": fmt.Sprint(err)}) }

func has(words []string, word string) bool {
	for _, each := range words {
		if each == word {
			return true
		}
	}
	return false
}

func protocols(token string) []string { return []string{"throughline.v1", "bearer." + token} }

func main() {
	run, words := drivers[os.Args[1]+"/"+os.Args[2]], os.Args[3:]
	lines := bufio.NewScanner(os.Stdin)
	for lines.Scan() {
		url, token, _ := strings.Cut(lines.Text(), " ")
		go func() {
			err := run(url, token, words)
			say("end", map[string]any{"text": fmt.Sprint(err)})
		}()
	}
}
