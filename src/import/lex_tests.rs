use super::{End, Lexer, Source};

/// All statements: words in brackets, then what ended them, or the message with its line.
fn read(text: &[u8], source: Source) -> String {
    let mut lexer = Lexer::new(text, source);
    let mut found = String::new();
    loop {
        match lexer.statement() {
            Ok(statement) => {
                for word in &statement.words {
                    let text = word.text.replace('\n', "␊").replace('\r', "␍").replace('\t', "␉");
                    found.push_str(&format!("[{text}]"));
                }
                found.push_str(match statement.end {
                    End::Semicolon => "; ",
                    End::Opening => "{ ",
                    End::Closing => "} ",
                    End::File => return found.trim_end().to_owned(),
                });
            }
            Err(message) => return format!("{found}! {message} in {}", lexer.line()),
        }
    }
}

#[track_caller]
fn check(text: &str, expected: &str) {
    assert_eq!(read(text.as_bytes(), Source::File), expected, "{text:?}");
}

#[test]
fn words_are_cut_as_by_nginx() {
    for (text, expected) in [
        ("", ""),
        (" \t\r\n", ""),
        ("a b;c d;", "[a][b]; [c][d];"),
        ("http{server{}}", "[http]{ [server]{ } }"),
        ("http {\n server { } # end }\n}", "[http]{ [server]{ } }"),
        ("a#b c;", "[a#b][c];"),
        ("a #b c;\nd;", "[a][d];"),
        ("a b}c;", "[a][b}c];"),
        ("a ${b}c;", "[a][${b}c];"),
        ("a x${b};", "[a][x${b}];"),
        ("a $b{", "[a][$b]{"),
        ("a ${;", "[a][${];"),
        ("a $${b};", "[a][$${b}];"),
        ("a \\${b;", "[a][\\$]{ [b];"),
    ] {
        check(text, expected);
    }
}

#[test]
fn quotes_hold_words_together() {
    check("a \"b c\" 'd;{}';", "[a][b c][d;{}];");
    check("a \"\" '';", "[a][][];");
    check("a \"it's\" 'say \"hi\"';", "[a][it's][say \"hi\"];");
    check("a b\"c d\";", "[a][b\"c][d\"];");
    check("a \"b\nc\";", "[a][b␊c];");
    check("\"a\" b;", "[a][b];");
    check("if ($a = \"b\") {", "[if][($a][=][b][)]{");
    check("a \"b\"){", "[a][b][)]{");
    check("a \"${b}\";", "[a][${b}];");
    check("a \"b#c\" # d\n;", "[a][b#c];");
}

#[test]
fn a_backslash_takes_the_next_character_as_it_is() {
    check(r"a b\ c;", r"[a][b\ c];");
    check(r"a b\;c;", r"[a][b\;c];");
    check(r#"a "b\"c";"#, r#"[a][b"c];"#);
    check(r"a \t\r\n\\\'\x;", r"[a][␉␍␊\'\x];");
    check(r"a \.php$;", r"[a][\.php$];");
    check(r"a \#b;", r"[a][\#b];");
    check(r"a b\{2\};", r"[a][b\{2\}];");
}

#[test]
fn mistakes_are_nginxs() {
    check("a \"b\"c;", "! unexpected \"c\" in 1");
    check("a 'b''c';", "! unexpected \"'\" in 1");
    check("a;\n;", "[a]; ! unexpected \";\" in 2");
    check("\n{", "! unexpected \"{\" in 2");
    check("a }", "! unexpected \"}\" in 1");
    let end = "! unexpected end of file, expecting \";\" or \"}\" in";
    check("a\nb", &format!("{end} 2"));
    check("a \"b;\n", &format!("{end} 2"));
    check("a # b;", &format!("{end} 1"));
    check("a \\", &format!("{end} 1"));
    check("a \"b\"", &format!("{end} 1"));
    check("# a", "");
}

#[test]
fn a_byte_that_is_no_character_is_kept() {
    let mut lexer = Lexer::new(b"a \xe9\xc3\xa9;", Source::File);
    let statement = lexer.statement().expect("a statement");
    let text = &statement.words[1].text;
    assert!(text.ends_with('é'));
    assert_eq!(*super::super::text::bytes(text), *b"\xe9\xc3\xa9");
}

#[test]
fn what_does_not_fit_the_buffer_is_named_by_its_beginning() {
    let long = |before: &str, length: usize, after: &str| {
        format!("\n{before}{}{after}", "a".repeat(length))
    };
    check(&long("", 4096, ";"), "! too long parameter \"aaaaaaaaaa...\" started in 2");
    check(&long("x\n", 4096, "\n;"), "! too long parameter \"aaaaaaaaaa...\" started in 3");
    check(&long("#", 4096, "\n"), "! too long parameter \"#aaaaaaaaa...\" started in 2");
    let quote = "! too long parameter, probably missing terminating";
    check(&long("x \"", 4096, "\";"), &format!("{quote} \"\"\" character in 2"));
    check(&long("x '\n", 4096, "';"), &format!("{quote} \"'\" character in 2"));
    check(&long("", 4095, ";"), &format!("[{}];", "a".repeat(4095)));
    check(&format!("x{};", " ".repeat(9000)), "[x];");
    check(&format!("\"x\"{};", " ".repeat(9000)), "[x];");
}

#[test]
fn a_parameter_of_the_command_line_has_no_buffer() {
    let read = |text: &str| read(text.as_bytes(), Source::Parameter);
    assert_eq!(read("pid x; daemon off;"), "[pid][x]; [daemon][off];");
    assert_eq!(read("pid x"), "! unexpected end of parameter, expecting \";\" in 1");
    let long = "a".repeat(5000);
    assert_eq!(read(&format!("{long};")), format!("[{long}];"));
}

#[test]
fn the_text_of_a_span_is_the_word_again() {
    let text = "a \"b c\" 'd' e\\ f ${g} \"\"; h {\n # i\n j \"k\n\"; }";
    let mut lexer = Lexer::new(text.as_bytes(), Source::File);
    let mut words = 0;
    loop {
        let statement = lexer.statement().expect("a statement");
        for word in &statement.words {
            let alone = format!("{};", &text[word.start..word.end]);
            let again = Lexer::new(alone.as_bytes(), Source::File).statement().expect("a word");
            assert_eq!(again.words.len(), 1, "{alone}");
            assert_eq!(again.words[0].text, word.text);
            words += 1;
        }
        if statement.end == End::File {
            break;
        }
    }
    assert_eq!(words, 9);
}
