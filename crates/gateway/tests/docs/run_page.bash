# Runs the shell examples of one page as a reader would: in one shell, one after the other.
#
#   bash run_page.bash FOLDER
#
# FOLDER has the examples as 01.sh, 02.serves and so on. An example that serves starts a gateway, which the examples
# after it talk to. The page's address 127.0.0.1:8080 stands for that gateway; before the first one it is
# `gateway dev`. What an example prints goes to NN.out and NN.err, its exit code to NN.code.
set -uo pipefail
folder=$1
page_address=127.0.0.1:8080
address=
server=

stop() {
  [ -n "$server" ] || return 0
  kill -- -"$server" 2>/dev/null
  wait "$server" 2>/dev/null
}
trap stop EXIT
trap 'exit 1' TERM

# Starts a gateway in a process group of its own and waits for the line that says where it listens.
serve() {
  stop
  : >"$folder/$2.out"
  set -m
  eval "$1" >"$folder/$2.out" 2>"$folder/$2.err" &
  server=$!
  set +m
  until address=$(sed -n 's|^listening on http://||p' "$folder/$2.out") && [ -n "$address" ]; do
    kill -0 "$server" 2>/dev/null || return 1
    sleep 0.05
  done
}

serve 'gateway dev --listen 127.0.0.1:0' 00 || exit 1
for file in "$folder"/*.sh "$folder"/*.serves; do
  [ -e "$file" ] && echo "$file"
done | sort >"$folder/order"
while read -r file <&3; do
  number=$(basename "${file%.*}")
  example=$(<"$file")
  case $file in
    *.serves) serve "${example//"$page_address"/127.0.0.1:0}" "$number" ;;
    *) eval "${example//"$page_address"/"$address"}" >"$folder/$number.out" 2>"$folder/$number.err" ;;
  esac
  echo $? >"$folder/$number.code"
done 3<"$folder/order"
