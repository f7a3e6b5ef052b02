<?php
// What it sees, under PHP's own server. SEEN: the file to write it to.
$body = file_get_contents('php://input');
$line = "{$_SERVER['REQUEST_METHOD']} {$_SERVER['REQUEST_URI']} " . bin2hex($body);
file_put_contents(getenv('SEEN'), "$line\n", FILE_APPEND);
header('Content-Length: ' . strlen($line));
echo $line;
